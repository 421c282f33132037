"""REVEAL: shares of one secret of each member, and what is rebuilt from t of them.

For a member of U3 its seed, whose self mask is taken from the sum; for one that dropped out its
mask scalar, whose pair masks the others could not cancel. With both secrets of one member its
vector could be decoded, so each member reveals once, for the one certificate that there can be.
"""

from collections.abc import Callable, Iterable

from p2pfl_crypto.masks import Mask
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.jobs import Rebuild, Rebuilt
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.messages import (
    FalseShares,
    Fetch,
    Reveal,
    SessionMessage,
    ShareKind,
    Wanted,
)
from p2pfl_gossip.masked_sum.sharing import Sharing
from p2pfl_gossip.records import Message

_NO_SHARE = bytes(32)


class Revealing:
    """The fifth phase, as holder of shares and as owner.

    Attributes:
        masks: what the sum of U3 still bears, once t members revealed; None before.
    """

    def __init__(self, core: Core, keys: SessionKeys, sharing: Sharing) -> None:
        self._core, self._keys, self._sharing = core, keys, sharing
        self._members: tuple[int, ...] = ()  # U3
        self._dropped: tuple[int, ...] = ()  # U2 without U3
        self._tau2 = self._ballot = b""
        self._reveal: Reveal | None = None
        self._seed_shares: dict[int, dict[int, bytes]] = {}
        self._scalar_shares: dict[int, dict[int, bytes]] = {}
        self._revealers: dict[int, Reveal] = {}
        self._is_rebuilding = False
        self._is_checking = False
        self._told: Callable[[], None] | None = None
        self.masks: tuple[Mask, ...] | None = None
        self._bearers: tuple[int, ...] = ()

    @property
    def is_wanted(self) -> bool:
        """Whether we have a use for the masks."""
        return self._told is not None

    def absent_of(self, holders: Iterable[int]) -> tuple[int, ...]:
        """Return who of these, who said that they hold all shares, showed none of a secret we lack.

        Nor a true one: what no dealer dealt is dropped.
        """
        wanted = (*self._seed_shares.values(), *self._scalar_shares.values())
        lacking = [shares for shares in wanted if len(shares) < self._core.cohort.threshold]
        return tuple(rank for rank in holders if any(rank + 1 not in shares for shares in lacking))

    def start(
        self,
        tau2: bytes,
        ballot: bytes,
        members: tuple[int, ...],
        dropped: tuple[int, ...],
        receivers: tuple[int, ...],
        told: Callable[[], None] | None,
    ) -> None:
        """Reveal, once, what the certificate allows.

        Args:
            tau2: the session's transcript.
            ballot: digest of the certified ballot.
            members: U3.
            dropped: U2 without U3.
            receivers: the live owners.
            told: called when the masks are known; None if we have no use for them.
        """
        core, shares = self._core, self._sharing.shares
        self._tau2, self._ballot = tau2, ballot
        self._members, self._dropped, self._told = members, dropped, told
        self._seed_shares = {rank: {} for rank in members}
        self._scalar_shares = {rank: {} for rank in dropped}
        body = [shares[r][:32] if r in shares else _NO_SHARE for r in members]
        body += [shares[r][32:64] if r in shares else _NO_SHARE for r in dropped]
        self._reveal = Reveal(core.cohort.session, ballot, b"".join(body))
        for rank in receivers:
            if rank != core.rank:
                core.send(rank, self._reveal)
        core.set_timer("reveals", core.cohort.patience.gather_s, self.fetch_missing)
        self._take(core.rank, self._reveal)

    def want(self, told: Callable[[], None]) -> None:
        """Ask all for their reveals, where nobody sent us theirs: we have a use for the masks."""
        if self._told is None:
            self._told = told
            self.fetch_missing()
            self._rebuild_if_enough()

    def on_reveal(self, sender: int, message: Reveal) -> None:
        """Take a member's shares. They are right if the secrets that they give are."""
        if message.ballot != self._ballot:
            raise RemoteProtocolError("wrong_ballot")
        if len(message.shares) != 32 * (len(self._members) + len(self._dropped)):
            raise RemoteProtocolError("bad_reveal")
        if sender not in self._sharing.dealers:
            raise RemoteProtocolError("not_in_list")
        if sender in self._revealers or self.masks is not None:
            return
        self._take(sender, message)

    def _take(self, holder: int, message: Reveal) -> None:
        self._revealers[holder] = message
        self._keep_shares(holder, message)
        self._rebuild_if_enough()

    def _keep_shares(self, holder: int, message: Reveal) -> None:
        place, corrupt = 0, False
        for kind, shares_of in ((b"b", self._seed_shares), (b"s", self._scalar_shares)):
            for dealer, shares in shares_of.items():
                share = message.shares[32 * place : 32 * place + 32]
                place += 1
                if share == _NO_SHARE:
                    continue
                if self._is_checking and not self._is_dealt(kind, dealer, holder, share):
                    corrupt = True
                else:
                    shares[holder + 1] = share
        if corrupt:
            self._core.blame(holder, "corrupt_reveal")

    def _is_dealt(self, kind: bytes, dealer: int, holder: int, share: bytes) -> bool:
        """Whether a share is the one that its dealer committed to."""
        sharing = self._sharing
        expected = sharing.share_digest_in(sharing.headers[dealer], kind, holder)
        return self._core.share_digest(sharing.tau1, kind, dealer, holder, share) == expected

    def _check_shares(self) -> None:
        """Drop the shares that no dealer dealt; from now on each is checked as it comes.

        A share is checked against its dealer's header only once secrets came out wrong: each takes
        a hash, there are t n of them, and the secrets are checked in any case.
        """
        self._is_checking = True
        for shares in (*self._seed_shares.values(), *self._scalar_shares.values()):
            shares.clear()
        for holder, message in self._revealers.items():
            self._keep_shares(holder, message)

    def _rebuild_if_enough(self) -> None:
        cohort, sharing = self._core.cohort, self._sharing
        needed = list(self._seed_shares.values()) + list(self._scalar_shares.values())
        if self._is_rebuilding or self.masks is not None or self._told is None:
            return
        if any(len(shares) < cohort.threshold for shares in needed):
            return
        self._is_rebuilding = True
        mask_keys = self._keys.mask_keys
        self._core.work(
            Rebuild(
                threshold=cohort.threshold,
                tau1=sharing.tau1,
                tau2=self._tau2,
                seeds={rank: dict(shares) for rank, shares in self._seed_shares.items()},
                scalars={rank: dict(shares) for rank, shares in self._scalar_shares.items()},
                commitments={r: sharing.headers[r].commitments[:32] for r in self._members},
                mask_keys={r: mask_keys[r] for r in (*self._members, *self._dropped)},
            ),
            self._on_rebuilt,
        )

    def _on_rebuilt(self, result: Rebuilt) -> None:
        core = self._core
        self._is_rebuilding = False
        if result.liars and not self._is_checking:
            self._check_shares()
            self._rebuild_if_enough()
            return
        if result.liars:
            for rank, xs in result.contradictions:
                core.blame(rank, "bad_dealing", *self._evidence_of(rank, xs))
            if core.phase == phases.REVEAL:
                core.abort("bad_dealing")
            self._told = None  # In a dispute it is of use for one check of several.
            return
        self.masks, self._bearers = result.masks, result.bearers
        assert self._told is not None
        self._told()

    def _evidence_of(self, dealer: int, xs: tuple[int, ...]) -> tuple[Message, ...]:
        """Show a dealing that gives no secret; in a group's session to anybody."""
        core, sharing = self._core, self._sharing
        if not isinstance(core.cohort, EpochCohort):
            reveals = (self._revealers[holder] for holder in sorted(self._revealers))
            return (sharing.headers[dealer], *reveals)
        if not xs or not core.require_proof(dealer, sharing.is_header_proven):
            return ()
        is_seed = dealer in self._seed_shares
        shares = (self._seed_shares if is_seed else self._scalar_shares)[dealer]
        evidence = FalseShares(
            header=sharing.headers[dealer],
            kind=ShareKind.SEED if is_seed else ShareKind.SCALAR,
            dealers=core.cohort.pack(sharing.dealers),
            holders=core.cohort.pack(x - 1 for x in sorted(xs)),
            shares=b"".join(shares[x] for x in sorted(xs)),
        )
        return (evidence,)

    def masks_of(self, member: int) -> tuple[Mask, ...]:
        """Return the masks of one member's words, beside those that it shares within U3."""
        masks = zip(self.masks or (), self._bearers, strict=True)
        return tuple(mask for mask, bearer in masks if bearer == member)

    def fetch_missing(self) -> None:
        """Ask for reveals that may have been lost."""
        if self.masks is None and self._told is not None:
            for rank in self._sharing.dealers:
                if rank not in self._revealers:
                    self._core.fetch(rank, Wanted.REVEAL)

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for."""
        return self._reveal if fetch.what == Wanted.REVEAL else None
