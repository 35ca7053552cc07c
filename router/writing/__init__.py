"""Inserts, updates, deletes and loads: in one local transaction where one shard suffices, else in a distributed one."""
