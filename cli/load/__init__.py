"""`crosskey load`: the rows of a database or of a file, into a running cluster."""
