"""What a run leaves: its tables and figures, and the folder that keeps them."""
