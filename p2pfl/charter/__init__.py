"""What members of a group agree on: keys that approve, charters, the files that carry them."""
