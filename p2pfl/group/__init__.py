"""What the members of a group agree on, and the peer that is made of it."""
