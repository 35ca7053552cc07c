"""The public contract: generated from protos/crosskey/v1."""
