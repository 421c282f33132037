"""One member of a network that opens, and a test in the place of everybody else."""

from random import Random
from typing import Any

import numpy as np
from one_peer import DEADLINE_S, OnePeer

from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.description import Description, describe_source, describe_tensor, fingerprint
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.opening import Begun, Opening, Ready
from p2pfl_gossip.peer import Peer

SEED = hash_parts(b"test/draw")


def description_of(
    width: int = 16, *, start: float = 0.5, frozen: float = 2.0, version: str = "aa11"
) -> Description:
    """What a member may average: a model of two layers, and 100 frozen values."""
    return Description(
        tensors=(
            describe_tensor("0.weight", (width, 8), "float32"),
            describe_tensor("2.weight", (3, width), "float32"),
        ),
        start=fingerprint([np.full(11 * width, start, np.float32)]),
        frozen=fingerprint([np.full(100, frozen, np.float32)]),
        sources=(describe_source("mine.py", version),),
    )


OURS = description_of()
SAYS_BEGUN = Begun(OURS.digest)


def ready_message(*, asks: bool) -> Ready:
    """What a member says that has the same as member 0."""
    return Ready(asks, OURS.digest)


class OneOpening(OnePeer):
    """Member 0; `seeds` are those that its peer was made with, through all its lives."""

    machine: Opening

    def __init__(self, **options: Any) -> None:
        self.seeds: list[bytes] = []
        super().__init__(**options)

    def make_machine(self) -> Opening:
        def make_peer(seed: bytes, desk: Desk) -> Peer:
            self.seeds.append(seed)
            return self.make_peer(desk)

        return Opening(
            index=0,
            roster=self.roster,
            deadline_s=DEADLINE_S,
            draw_seed=SEED,
            description=OURS,
            make_peer=make_peer,
            rng=Random("test/ask"),
        )

    def up(self, sender: int) -> None:
        self.do(self.machine.on_peer_up(self.now_s, self.roster.peers[sender]))

    def told(self) -> list[tuple[int, Any]]:
        """Take all that it sent."""
        sent, self.sent = self.sent, []
        return sent
