"""Training on a peer's own data."""
