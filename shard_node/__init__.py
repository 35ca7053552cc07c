"""Owns one shard: the only part of Crosskey that talks SQL."""
