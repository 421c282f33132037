"""Deals shares of another seed than its header names."""

import msgspec

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.jobs import Deal, Dealt
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar


class OtherSeed(Liar):
    """Names another seed in its header than its shares give: nobody can take its mask away."""

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Change what is named."""
        if not isinstance(job, Deal) or not isinstance(result, Dealt):
            return result
        named = bytes([result.commitment[0] ^ 1]) + result.commitment[1:]
        return msgspec.structs.replace(result, commitment=named)
