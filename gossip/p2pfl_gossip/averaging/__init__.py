"""Averaging algorithms, one a file."""
