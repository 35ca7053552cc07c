"""What a request comes to, worked out from the request and the schema alone: pure."""
