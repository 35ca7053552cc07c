"""Where the tables of a schema could live: proposed from its keys and, where there are any, from statistics."""
