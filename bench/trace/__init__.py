"""How long the road of a request is: the functions and files that it enters, its calls and its statements."""
