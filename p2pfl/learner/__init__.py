"""Training on a peer's own data. torch is imported here only, and only for tasks that use it."""
