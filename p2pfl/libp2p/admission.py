"""Whether a connection may be used: not where another process of the same peer is linked already.

Each process draws a Noise key when it starts, signs it with its identity, and proves in every
handshake that it holds it. So two live connections of one identity with two such keys are of two
processes: its *incarnations*. Nobody can forge that, and nobody can replay it.
"""

import asyncio
from enum import Enum


class Admittance(Enum):
    """What was found of a connection."""

    PENDING = "it is not known yet whether the earlier process is alive"
    ADMITTED = "in use, or superseded by another of the same process"
    REFUSED = "of a second process, while the first is alive"


class Admission:
    """One connection's.

    Attributes:
        verdict: as it stands.
    """

    def __init__(self) -> None:
        self.verdict = Admittance.ADMITTED
        self._decided = asyncio.Event()
        self._decided.set()

    def hold(self) -> None:
        """Let streams wait until there is a verdict."""
        self.verdict = Admittance.PENDING
        self._decided.clear()

    def decide(self, verdict: Admittance) -> None:
        """Admit or refuse."""
        self.verdict = verdict
        self._decided.set()

    async def decided(self) -> None:
        """Wait for the verdict."""
        await self._decided.wait()
