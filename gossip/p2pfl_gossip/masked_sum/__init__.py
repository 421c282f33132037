"""Masked sums: a cohort's members learn the weighted mean of their vectors, and nothing else.

Double masking after Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning" (CCS 2017, active variant), with two changes: an untrusted leader that rotates relays
small control messages only, and the summing is split over the members. docs/protocol.md describes
it step by step; the mathematics is in `p2pfl_crypto`.

cohort.py holds what follows from the members alone, messages.py what is said, phases.py the phases
and their table, jobs.py the heavy parts. The machine is session.py, composed of sharing.py,
agreement.py, exchange.py, voting.py and summing.py, one for each stretch of phases, which share
core.py. Where keys come from and what the sums are for differs: machine.py is the session of a
cohort, with advertising.py, mean_summing.py and certifying.py.
"""
