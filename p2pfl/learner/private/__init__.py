"""Lots of private rounds: which units are drawn, and the sums of their clipped gradients."""
