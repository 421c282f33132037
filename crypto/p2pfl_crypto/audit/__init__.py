"""The audit of a masked sum: sketches, commitments, and proofs that a sketch is short."""
