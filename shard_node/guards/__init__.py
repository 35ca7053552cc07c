"""What keeps keys true over shards: shadows, pins, claims and effects, and the triggers that write them."""
