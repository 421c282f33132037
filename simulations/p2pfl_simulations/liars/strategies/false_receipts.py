"""Says that it holds chunks that it lacks, or lacks chunks that it holds."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Receipt
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class FalseReceipts(Liar):
    """Says that it holds chunks that it lacks, or lacks chunks that it holds.

    Args:
        claims: ``"all"``, ``"none"``, or ``"random"``.
    """

    def __init__(self, claims: str = "random") -> None:
        if claims not in ("all", "none", "random"):
            raise ValueError("claims is 'all', 'none' or 'random'")
        self._claims = claims
        self._receipt: tuple[Receipt, Receipt] | None = None

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Send a false receipt, the same to everybody."""
        message = send.message
        if not isinstance(message, Receipt):
            return (send,)
        if self._receipt is None or self._receipt[0] != message:
            forged = replaced(message, bitmaps=self._bitmaps(message.bitmaps))
            forged = self.me.signed(forged)
            self._receipt = (message, forged)
        return (replaced(send, message=self._receipt[1]),)

    def _bitmaps(self, true: bytes) -> bytes:
        size, cohort = (len(self.me.cohort) + 7) // 8, len(self.me.cohort)
        whole = ((1 << cohort) - 1).to_bytes(size, "little")
        match self._claims:
            case "all":
                return whole * (len(true) // size)
            case "none":
                return bytes(len(true))
        drawn = (self.me.rng.getrandbits(cohort) for _ in range(len(true) // size))
        return b"".join(bits.to_bytes(size, "little") for bits in drawn)
