"""Says nothing in an audit."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import AuditProof, Coin, CoinShares, CoinSum, SumsSeen
from p2pfl_simulations.liars.liar import Liar

_WITHHELD: dict[str, tuple[type, ...]] = {
    "proof": (AuditProof,),
    "coin": (Coin, CoinShares, CoinSum),
    "seen": (SumsSeen,),
}


class SilentInAudits(Liar):
    """Withholds its word in audits: rounds that wait for it are void.

    Args:
        word: which: `"proof"`, `"coin"` or `"seen"`.
        turns: whether liars are silent one after the other, each where the others are good.
        heard_by: how many others are given the word all the same, those with the lowest index.
    """

    in_groups = True
    in_audits = True

    def __init__(self, word: str = "proof", *, turns: bool = False, heard_by: int = 0) -> None:
        if word not in _WITHHELD:
            raise ValueError(f"'word' is one of {', '.join(_WITHHELD)}, not {word!r}")
        self._withheld, self._turns, self._heard_by = _WITHHELD[word], turns, heard_by

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Keep its own word to itself."""
        message, me = send.message, self.me
        if (
            not isinstance(message, self._withheld)
            or getattr(message, "member", me.index) != me.index
        ):
            return (send,)
        if me.index_of(send.receiver) < self._heard_by:
            return (send,)
        place = me.colluders.index(me.index)
        is_turn = not self._turns or me.round % len(me.colluders) == place
        return () if is_turn else (send,)
