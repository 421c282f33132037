"""Simulated disks: how long a `Persist` takes, and what a crash in the middle of it leaves."""

from collections.abc import Mapping

from p2pfl_gossip.actions import Vector
from p2pfl_simulations.draws import array_stream, sampler, stream
from p2pfl_simulations.world_settings import DiskSettings, constant


class Disks:
    """The disks of all hosts: alike, each with a queue of its own.

    Attributes:
        are_instant: whether a `Persist` takes no time.
    """

    def __init__(self, settings: DiskSettings, *, seed: int) -> None:
        persist_s, self._bytes_per_s = settings.model()
        self.are_instant = persist_s is None
        self._draw_s = sampler(persist_s or constant(0.0), array_stream(seed, "disk"))
        self._crash_rng = stream(seed, "disk/crash")

    def persist_s(self, records: Mapping[str, bytes | Vector | None]) -> float:
        """Draw how long records take to be durable, in seconds."""
        size_bytes = sum(
            len(value) if isinstance(value, bytes) else value.nbytes
            for value in records.values()
            if value is not None
        )
        return self._draw_s() + size_bytes / self._bytes_per_s

    def survives_crash(self) -> bool:
        """Draw whether records that were being written when the process died are kept, all."""
        return self._crash_rng.random() < 0.5
