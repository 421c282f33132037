"""What the simulator looks at in a peer, whether it gossips or is a member of a group."""

from typing import Protocol, cast

from p2pfl_gossip.actions import Machine, Vector
from p2pfl_gossip.peer_state import State


class RunningPeer(Machine, Protocol):
    """The machine of one peer, with what is measured of it."""

    @property
    def state(self) -> State:
        """Where the peer is in its round."""

    @property
    def round(self) -> int:
        """The round that it is in, from 0: a group's models so far."""

    @property
    def vector(self) -> Vector:
        """Its model, read-only."""

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the indices of those that it exchanges with in a round."""


def running_peer(machine: Machine) -> RunningPeer:
    """Take a machine that a simulation made for what it is."""
    return cast(RunningPeer, machine)
