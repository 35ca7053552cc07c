"""What SQL text is made of: names, conditions, keys, rows as JSON."""
