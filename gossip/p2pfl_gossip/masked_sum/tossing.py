"""SEEN and COIN: fix a group's sums, and only then come to a seed that nobody knew before.

Each member dealt a third secret at the start, its coin, and committed to it. Once t members have
signed one digest of all sums, members show their shares of these secrets, added up: t of them give
the sum of all coins, which is held against the commitments. If that fails, each share is shown by
itself, and checked against its dealer's header.

Whoever knows more tells it to who lacks it: digests are signed, and the sum of all coins is held
against the headers. So no liar can keep one honest member behind by what it says to the others
alone; they would all miss that one's proof.
"""

from collections.abc import Callable

from p2pfl_crypto.shamir import GROUP_ORDER
from p2pfl_crypto.transcripts import sums_digest
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.audit_jobs import (
    AuditedSum,
    CheckCoinSum,
    TossCoin,
    Tossed,
    TossSingly,
)
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX
from p2pfl_gossip.masked_sum.group_summing import GroupSumming
from p2pfl_gossip.masked_sum.journal import SessionJournal
from p2pfl_gossip.masked_sum.messages import (
    Coin,
    CoinShares,
    CoinSum,
    FalseShares,
    Fetch,
    SessionMessage,
    ShareKind,
    SumsSeen,
    Wanted,
)
from p2pfl_gossip.masked_sum.sharing import Sharing

NO_SUM = bytes(32)
"""In place of a sum's digest, where the ballot names no owner: the chunk counts as zeros."""


class Tossing:
    """One member's part in fixing the sums, and in the seed that follows.

    Attributes:
        audited: which sums we have; nothing before `start`.
        seed: of the sketches; empty until t coins gave it.
    """

    def __init__(
        self,
        core: Core,
        journal: SessionJournal,
        sharing: Sharing,
        agreement: Agreement,
        summing: GroupSumming,
    ) -> None:
        self._core, self._journal = core, journal
        self._sharing, self._agreement, self._summing = sharing, agreement, summing
        self.audited = AuditedSum(b"", b"", b"")
        self.seed = b""
        self._is_fixed = self._is_tossing = self._is_single = False
        self._seen: dict[int, SumsSeen] = {}
        self._coins: dict[int, Coin] = {}
        self._single: dict[int, CoinShares] = {}
        self._coin_sum = b""
        self._told_seen: dict[int, int] = {}  # How often, by who asked.
        self._told: Callable[[], None] = lambda: None

    # 1 SEEN

    def start(self, told: Callable[[], None]) -> None:
        """Say which sums we have, once; `told` is called when the seed is known."""
        self._told = told
        core, summing = self._core, self._summing
        digests = [
            summing.sums[chunk].digest if chunk in summing.sums else NO_SUM
            for chunk in range(core.cohort.chunk_count)
        ]
        sums = sums_digest(digests)
        self.audited = AuditedSum(core.cohort.session, summing.ballot, sums)
        core.actions.append(self._journal.see(sums))
        signature = core.sign(b"seen", summing.ballot, sums)
        seen = SumsSeen(core.cohort.session, core.rank, summing.ballot, sums, signature)
        self._seen[core.rank] = seen
        core.broadcast(seen)
        self._toss_if_seen()

    def on_seen(self, sender: int, message: SumsSeen) -> None:
        """Count a member that has the sums, whoever brings it; two digests of one name it."""
        core, member = self._core, message.member
        core.require_member(member)
        if message.ballot != self.audited.ballot:
            raise RemoteProtocolError("wrong_ballot")
        known = self._seen.get(member)
        if known is not None and known.sums == message.sums:
            return
        core.verify(member, b"seen", message.signature, message.ballot, message.sums)
        if known is not None:
            core.blame(member, "two_seen", known, message)
            return
        self._seen[member] = message
        if message.sums != self.audited.sums:
            # Vouchers of some chunk told us and it two sums. Both, signed, name them.
            self._summing.ask_digests(member)
        self._toss_if_seen()

    def require_ours(self, sums: bytes) -> bool:
        """Tell whether something is of the sums that we have, or raise RemoteProtocolError.

        Others may have been told other sums, and then fix theirs: that is no fault of who says so.
        """
        if sums != self.audited.sums and self._is_fixed:
            raise RemoteProtocolError("wrong_sums")
        return sums == self.audited.sums

    # 2 COIN

    def _toss_if_seen(self) -> None:
        core = self._core
        alike = sum(seen.sums == self.audited.sums for seen in self._seen.values())
        if alike < core.cohort.threshold or core.rank in self._coins:
            return
        if not self._is_fixed:
            self._is_fixed = True
            self._told_seen.clear()  # Who asked before we knew of all is told once more.
        shares = self._own_shares()
        if shares is not None:
            total = sum(int.from_bytes(share, "little") for share in shares) % GROUP_ORDER
            coin = Coin(core.cohort.session, self.audited.sums, total.to_bytes(32, "little"))
            self._coins[core.rank] = coin
            core.broadcast(coin)
        self._rebuild_if_enough()

    def _own_shares(self) -> list[bytes] | None:
        """Return our shares of the coins of U2; None if we lack one."""
        held, members = self._sharing.shares, self._agreement.members
        if any(rank not in held for rank in members):
            return None
        return [held[rank][64:96] for rank in members]

    def on_coin(self, sender: int, message: Coin) -> None:
        """Take a member's sum of shares. It is right if the coin that it gives is."""
        if not self.require_ours(message.sums):
            return
        if sender not in self._sharing.dealers:
            raise RemoteProtocolError("not_in_list")
        if int.from_bytes(message.share, "little") >= GROUP_ORDER:
            raise RemoteProtocolError("bad_coin")
        if sender not in self._coins:
            self._coins[sender] = message
            self._rebuild_if_enough()

    def _rebuild_if_enough(self) -> None:
        core, threshold = self._core, self._core.cohort.threshold
        if self.seed or self._is_tossing or self._is_single or not self._is_fixed:
            return
        if len(self._coins) < threshold:
            return
        self._is_tossing = True
        holders = list(self._coins)[:threshold]
        core.work(
            TossCoin(
                audited=self.audited,
                threshold=threshold,
                shares={rank + 1: self._coins[rank].share for rank in holders},
                points=tuple(self._point_of(rank) for rank in self._agreement.members),
            ),
            self._on_tossed,
        )

    def _point_of(self, dealer: int) -> bytes:
        return self._sharing.headers[dealer].commitments[32:64]

    def _on_tossed(self, result: Tossed) -> None:
        core = self._core
        self._is_tossing = False
        if result.seed:
            self.seed, self._coin_sum = result.seed, result.coin
            self._told()
        elif result.liars:
            for rank, xs in result.liars:
                self._blame_dealer(rank, [x - 1 for x in xs])
            # It may have dealt falsely to us alone. Then others know the sum of all.
            for rank in self._sharing.dealers:
                core.fetch(rank, Wanted.COIN)
            core.set_timer("dealing", core.cohort.patience.sums_s, self._end_if_no_seed)
        elif not self._is_single:
            # Somebody's sum of shares is false. Each share by itself shows whose.
            self._is_single = True
            own = self._own_shares()
            if own is not None:
                self._single[core.rank] = self._coin_shares(own)
            for rank in self._sharing.dealers:
                core.fetch(rank, Wanted.COIN_SHARES)
            self._toss_singly()

    def _end_if_no_seed(self) -> None:
        if not self.seed:
            self._core.abort("bad_dealing")

    def _blame_dealer(self, dealer: int, holders: list[int]) -> None:
        """Name who dealt shares that do not give its coin; by its header, if it signed that."""
        core, sharing = self._core, self._sharing
        if not core.require_proof(dealer, sharing.is_header_proven):
            return
        place = 32 * self._agreement.members.index(dealer)
        shares = [self._single[holder].shares[place : place + 32] for holder in sorted(holders)]
        evidence = FalseShares(
            header=sharing.headers[dealer],
            kind=ShareKind.COIN,
            dealers=core.cohort.pack(sharing.dealers),
            holders=core.cohort.pack(tuple(sorted(holders))),
            shares=b"".join(shares),
        )
        core.blame(dealer, "bad_dealing", evidence)

    def _coin_shares(self, shares: list[bytes]) -> CoinShares:
        return CoinShares(self._core.cohort.session, self.audited.sums, b"".join(shares))

    def on_coin_sum(self, sender: int, message: CoinSum) -> None:
        """Take the sum of all coins, if it is the one that all headers promise.

        But not before we know of t that signed our sums: it says nothing of these. A liar could
        tell it to a member with other sums, which then took all others for liars.
        """
        core = self._core
        if not self.require_ours(message.sums):
            return
        if int.from_bytes(message.coin, "little") >= GROUP_ORDER:
            raise RemoteProtocolError("bad_coin")
        if self.seed or self._is_tossing or not self._is_fixed:
            return
        self._is_tossing = True
        points = tuple(self._point_of(rank) for rank in self._agreement.members)

        def done(result: Tossed) -> None:
            if result.seed:
                self._on_tossed(result)
                return
            self._is_tossing = False
            core.disconnect(sender, "bad_coin")
            if self._is_single:
                self._toss_singly()
            else:
                self._rebuild_if_enough()

        core.work(CheckCoinSum(self.audited, message.coin, points), done)

    def on_coin_shares(self, sender: int, message: CoinShares) -> None:
        """Take a member's shares of each coin; each is checked against its dealer's header."""
        core, sharing, members = self._core, self._sharing, self._agreement.members
        if not self.require_ours(message.sums):
            return
        if sender not in sharing.dealers:
            raise RemoteProtocolError("not_in_list")
        if len(message.shares) != 32 * len(members):
            raise RemoteProtocolError("bad_coin")
        if not self._is_single or self.seed or sender in self._single:
            return
        for place, dealer in enumerate(members):
            share = message.shares[32 * place : 32 * place + 32]
            expected = sharing.share_digest_in(sharing.headers[dealer], b"a", sender)
            if core.share_digest(sharing.tau1, b"a", dealer, sender, share) != expected:
                core.blame(sender, "corrupt_coin")
                return
        self._single[sender] = message
        self._toss_singly()

    def _toss_singly(self) -> None:
        core, threshold = self._core, self._core.cohort.threshold
        if len(self._single) < threshold or self._is_tossing or self.seed:
            return
        self._is_tossing = True
        members = self._agreement.members
        shares = {
            dealer: {
                holder + 1: self._single[holder].shares[32 * place : 32 * place + 32]
                for holder in self._single
            }
            for place, dealer in enumerate(members)
        }
        points = {dealer: self._point_of(dealer) for dealer in members}
        core.work(TossSingly(self.audited, threshold, shares, points), self._on_tossed)

    # What may have been lost

    @property
    def reason(self) -> str:
        """What is missing, as a short word."""
        return "coins_missing" if self._is_fixed else "seen_missing"

    @property
    def absent(self) -> tuple[int, ...]:
        """Members whose word we lack, for the seed."""
        if not self._is_fixed:
            alike = [rank for rank, seen in self._seen.items() if seen.sums == self.audited.sums]
            return tuple(rank for rank in self._sharing.dealers if rank not in alike)
        # Others may lack a share, which its dealer kept from them; and have said so.
        held = self._single if self._is_single else self._coins
        return tuple(rank for rank in self._agreement.acknowledged if rank not in held)

    def fetch_missing(self) -> None:
        """Ask again for what others may have said."""
        core = self._core
        for rank in self._sharing.dealers:
            if not self._is_fixed:  # Who has said its own may have heard more than we.
                core.fetch(rank, Wanted.SEEN)
            if self._is_single and rank not in self._single:
                core.fetch(rank, Wanted.COIN_SHARES)
            # Who knows the sum of all gives that, to us as well who may have been told too little.
            core.fetch(rank, Wanted.COIN)

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if we have said it, or may."""
        own, session = self._core.rank, self._core.cohort.session
        match fetch.what:
            case Wanted.SEEN:
                self._tell_seen(asker)
            case Wanted.COIN if self._coin_sum:
                return CoinSum(session, self.audited.sums, self._coin_sum)
            case Wanted.COIN:
                return self._coins.get(own)
            case Wanted.COIN_SHARES if own in self._coins:
                shares = self._own_shares()
                return None if shares is None else self._coin_shares(shares)
        return None

    def _tell_seen(self, asker: int) -> None:
        """Tell who has the sums that we have: ourselves, and all that it may not have heard."""
        told = self._told_seen.get(asker, 0)
        self._told_seen[asker] = told + 1
        for rank, seen in self._seen.items():
            is_ours = rank == self._core.rank
            if is_ours or (told < SERVES_MAX and seen.sums == self.audited.sums):
                self._core.send(asker, seen)
