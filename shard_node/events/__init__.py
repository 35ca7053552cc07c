"""Events: what of the outbox may be given out, reading it for whoever watches, and keeping it bounded."""
