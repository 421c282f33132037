"""The simulated world: the very same peers under churn and dropout."""
