"""Deals shares of another coin than its header names."""

import msgspec

from p2pfl_crypto.audit.curve import add, multiply_base
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import Deal, Dealt
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar


class OtherCoin(Liar):
    """Names another coin in its header than its shares give: no seed comes of it."""

    in_groups = True
    in_audits = True

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Move the point that is named."""
        if not isinstance(job, Deal) or not isinstance(result, Dealt):
            return result
        point = add(result.commitment[32:], multiply_base(1))
        return msgspec.structs.replace(result, commitment=result.commitment[:32] + point)
