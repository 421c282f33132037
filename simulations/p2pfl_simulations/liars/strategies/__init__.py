"""The strategies that ship, one a file."""
