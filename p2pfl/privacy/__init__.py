"""Differential privacy: what a release costs, how much noise it needs, and what an owner allows.

Nothing here draws noise or clips: see `p2pfl_crypto.discrete_gaussian`, `p2pfl_crypto.
private_encoding` and `p2pfl.learner.engines.clipped_sums`.
"""
