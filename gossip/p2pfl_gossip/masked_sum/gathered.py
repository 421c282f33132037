"""The keys of a group's session: the ledger gathers them, since an advert says more than keys."""

from p2pfl_gossip.actions import LocalProtocolError
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.jobs import Secrets
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Record


class Gathered(Record, frozen=True):
    """What a list of adverts fixed before a session of a group.

    Attributes:
        secrets: ours, of `make_secrets`, for this session alone.
        dealers: U1, the members of the list, ascending; at least t, and we are one.
        share_keys: keys for sealed shares, by member of U1; the ledger has checked their adverts.
        mask_keys: keys for pair masks, by member of U1.
        tau1: the transcript: of the session's name and the list.
        turn: whose list it is, as a turn of the session's leaders: these lead on.
    """

    secrets: Secrets
    dealers: tuple[int, ...]
    share_keys: dict[int, bytes]
    mask_keys: dict[int, bytes]
    tau1: bytes
    turn: int = 0


class GatheredKeys(SessionKeys):
    """Keys that were there before the session.

    Raises:
        LocalProtocolError: they are not those of a list that this member may follow.
    """

    def __init__(self, core: Core, gathered: Gathered) -> None:
        super().__init__(gathered.secrets)
        dealers, cohort = gathered.dealers, core.cohort
        if list(dealers) != sorted(dict.fromkeys(dealers)) or core.rank not in dealers:
            raise LocalProtocolError("the dealers are ranks, ascending, with our own")
        if not cohort.contributors_min <= len(dealers) <= cohort.size or dealers[-1] >= cohort.size:
            raise LocalProtocolError(f"{len(dealers)} dealers: as many as a sum takes, and members")
        own = gathered.share_keys.get(core.rank), gathered.mask_keys.get(core.rank)
        if own != core.public_keys(gathered.secrets):
            raise LocalProtocolError("our own keys are not those of our secrets")
        if not 0 <= gathered.turn < cohort.leader_turns_max:
            raise LocalProtocolError(f"turn {gathered.turn} is no leader's")
        self._core, self._turn = core, gathered.turn
        self.dealers, self.tau1 = dealers, gathered.tau1
        self.share_keys = {rank: gathered.share_keys[rank] for rank in dealers}
        self.mask_keys = {rank: gathered.mask_keys[rank] for rank in dealers}

    def start(self) -> None:
        """Go on to DEAL: all keys are here."""
        self._core.turn = self._turn
        self._core.advance(Phase.DEAL)

    def on_other(self, rank: int) -> None:
        """Do nothing: who signed two lists is for the ledger to see."""

    def on_ahead(self, rank: int) -> None:
        """Do nothing: this is of a phase that there is not."""

    def on_gone(self) -> None:
        """Do nothing: this is of a phase that there is not."""
