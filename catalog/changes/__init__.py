"""What lies between two schemas: their pieces compared, and the steps from one to the other."""
