"""The product: all that touches the world. Importing this package imports nothing else."""
