"""Generated from protos/crosskey/internal/v1."""
