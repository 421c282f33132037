"""Masked sums: a cohort's members learn the weighted mean of their vectors, and nothing else.

Double masking after Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning" (CCS 2017, active variant), with two changes: an untrusted leader that rotates relays
small control messages only, and the summing is split over the members. docs/protocol.md describes
it step by step; the mathematics is in `p2pfl_crypto`.

cohort.py holds what follows from the cohort as drawn, messages.py what is said, phases.py the
phases and their table, jobs.py the heavy parts. The machine is machine.py, composed of
agreement.py, exchange.py, voting.py and summing.py, one for each stretch of phases, which share
core.py.
"""
