"""What a peer keeps on disk: its journal with checkpoints, and its key file."""
