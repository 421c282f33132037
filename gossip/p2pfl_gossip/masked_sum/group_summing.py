"""SUM, for a group: every chunk that has an owner, for all members alike.

All members are to come to one model, so no sum is done without. Whoever has one gives it, with the
digests by which it took it; the signatures say whose these are, so it does not matter who brings
them. Deputies step in for owners that cannot be reached as well.
"""

from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.jobs import ChunkSum
from p2pfl_gossip.masked_sum.messages import (
    Fetch,
    OutvotedSum,
    SessionMessage,
    SumDigest,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.summing import Summing
from p2pfl_gossip.masked_sum.voting import Voting

ALL_RECOUNT_AFTER = 2
"""Waits for m + 1 equal sums of a chunk, before all its deputies work it out again."""


class GroupSumming(Summing):
    """The last phase of a group's session.

    In a dispute in which all is in order but the total, they work the sums out again (`recount`):
    m + 1 deputies of each chunk, and all where these do not come to m + 1 equal ones, be it that
    two digests differ, or that words are withheld: of one such chunk, that all may miss who
    withholds them. Who signed another digest than m + 1 others is proven to have lied: one of these
    is honest.

    Attributes:
        sums: by chunk.
        void: chunks of which the ballot names no owner.
    """

    def __init__(
        self, core: Core, revealing: Revealing, exchange: Exchange, voting: Voting
    ) -> None:
        super().__init__(core, revealing, exchange, voting)
        self.sums: dict[int, ChunkSum] = {}
        self.void: dict[int, None] = {}
        self._digests_served: dict[tuple[int, int], int] = {}
        self._is_recounting = False
        self._recount_waits = 0
        self._asked_for_words: dict[int, int] = {}  # In a recount: how often, by chunk.

    @property
    def ballot(self) -> bytes:
        """Digest of the ballot that t members voted for."""
        return self._ballot

    # Which sum counts

    @property
    def absent(self) -> tuple[int, ...]:
        """Members that did not give what they have of a sum that we lack.

        Where too few gave their shares, those of whom t had said that they hold them; else the
        owners of the chunk. They may have signed its digest all the same.
        """
        if self._revealing.masks is None and self._revealing.is_wanted:
            found = dict.fromkeys(self._revealing.absent_of(self._exchange.acknowledged))
        else:
            lacking = [owners for chunk, owners in self._live.items() if chunk not in self.sums]
            found = {rank: None for owners in lacking for rank in owners}
        found.pop(self._core.rank, None)
        return tuple(sorted(found))

    def _note_ownerless(self, chunk: int) -> None:
        self.void[chunk] = None

    def _is_taken(self, chunk: int) -> bool:
        return chunk in self.sums

    def _require_author(self, sender: int, member: int) -> None:
        """Take what anybody brings: the signature says whose it is."""

    def _decide(self, chunk: int) -> None:
        digest = self._quorum(chunk)
        if digest is None or chunk in self.sums or self._core.phase != Phase.REVEAL:
            return
        body = self._bodies[chunk].get(digest)
        if body is None:
            self._ask_for_body(chunk, digest)
            return
        self.sums[chunk] = ChunkSum(chunk, body, digest)
        self._bodies[chunk] = {digest: body}
        self._finish_if_decided()

    def _finish_if_decided(self) -> None:
        core = self._core
        count = len(self.sums) + len(self.void)
        if core.phase == Phase.REVEAL and count == core.cohort.chunk_count:
            core.advance(Phase.AUDIT if core.cohort.is_audited else Phase.DONE)

    # Working sums out again

    def recount(self) -> None:
        """Work out again what we are among the first m + 1 deputies of."""
        self._is_recounting = True
        self._recount_all()

    def go_on_recounting(self) -> None:
        """Sum what has come, and ask again for what has not; called once a wait."""
        if self._is_recounting:
            self._recount_waits += 1
            self._recount_all()
            self._sum_what_is_complete()

    def _recount_all(self) -> None:
        first = {chunk: deputies[: self._needed] for chunk, deputies in self._deputies.items()}
        unsettled = [chunk for chunk in sorted(self.sums) if not self._is_settled(chunk)]
        # Where words are withheld, honest deputies do not sign. Elsewhere they do, and so such a
        # chunk would come late among others that liars refuse to sign, were it not for the order.
        unsettled.sort(key=lambda chunk: sum(it in self._said[chunk] for it in first[chunk]))
        for chunk in unsettled:
            deputies = self._deputies[chunk]
            if self._recount_waits < ALL_RECOUNT_AFTER or (
                len(self._digest_counts(chunk)) < 2 and chunk != unsettled[0]
            ):
                deputies = first[chunk]
            if self._core.rank in deputies and chunk not in self._own:
                self._ask_for_words(chunk)

    @property
    def _needed(self) -> int:
        """How many alike are sure to have an honest one among them."""
        return self._core.cohort.liars_max + 1

    def _is_settled(self, chunk: int) -> bool:
        """Whether m + 1 members signed one sum of a chunk: it is the true one."""
        counts = self._digest_counts(chunk)
        return max(counts.values(), default=0) >= self._needed

    def _ask_for_words(self, chunk: int) -> None:
        """Ask the members for their words of a chunk, and later who has all, as its sum shows."""
        core, attempt = self._core, self._asked_for_words.get(chunk, 0)
        self._asked_for_words[chunk] = attempt + 1
        self._deputised.setdefault(chunk, 1)
        holders = [rank for rank in self._said[chunk] if rank != core.rank]
        for member in self.members:
            if self._exchange.held(chunk, member) is not None:
                continue
            self._exchange.expect(chunk, member)
            if member == core.rank:
                self._exchange.keep_own(chunk)
                continue
            asked = dict.fromkeys((member,))
            if attempt and holders:
                asked[holders[(core.rank + attempt) % len(holders)]] = None
            for rank in asked:
                core.fetch(rank, Wanted.CHUNK, chunk, member)

    @property
    def withholding(self) -> tuple[int, ...]:
        """Members whose words of a chunk we asked for again, and did not get."""
        found: dict[int, None] = {}
        for chunk, attempts in self._asked_for_words.items():
            if attempts > 1:
                lacking = (it for it in self.members if self._exchange.held(chunk, it) is None)
                found |= dict.fromkeys(lacking)
        found.pop(self._core.rank, None)
        return tuple(sorted(found))

    def on_words(self) -> None:
        """Sum what has become complete."""
        if self._is_recounting:
            self._sum_what_is_complete()

    def _on_summed(self, result: ChunkSum) -> None:
        super()._on_summed(result)
        self._compare_digests(result.chunk)

    def _note(self, said: SumDigest) -> None:
        super()._note(said)
        self._compare_digests(said.chunk)

    def _compare_digests(self, chunk: int) -> None:
        """Name who signed another sum than m + 1 others."""
        core, said = self._core, self._said[chunk]
        counts = self._digest_counts(chunk)
        if len(counts) < 2 or not core.cohort.is_audited:
            return
        for digest, count in counts.items():
            if count >= self._needed:
                signers = self._holders(chunk, digest)[: self._needed]
                signatures = b"".join(said[rank].signature for rank in sorted(signers))
                for rank in [rank for rank in said if said[rank].digest != digest]:
                    packed = core.cohort.pack(signers)
                    core.blame(
                        rank, "outvoted", OutvotedSum(said[rank], digest, packed, signatures)
                    )

    # Who steps in

    def on_gone(self) -> None:
        """Step in for owners that cannot be reached."""
        for chunk in self._live:
            self._step_in(chunk)

    # What may have been lost

    def _repair_sums(self) -> None:
        """Ask again for what we lack, and have deputies step in: as many as it takes, then all."""
        core = self._core
        turn, self._waits = self._waits, self._waits + 1
        for chunk, owners in self._live.items():
            if chunk in self.sums:
                continue
            said = self._said[chunk]
            # Who has spoken of it; and each time another one, who may have it from others.
            asked = dict.fromkeys((*owners, *said))
            asked[core.others[(core.rank + chunk + turn) % len(core.others)]] = None
            for rank in asked:
                core.fetch(rank, Wanted.SUM, chunk)
            if self._quorum(chunk) is None:
                self._deputise(chunk, self._deputies_after(chunk, turn))
            elif turn:  # Owners signed its digest, and give its sum to nobody.
                self._deputise(chunk, self._needed)
        self._revealing.fetch_missing()
        # More and more rarely: nobody answers one member's questions without end.
        wait_s = core.cohort.patience.sums_s * max(1, turn - 1)
        core.set_timer("sums", wait_s, self._repair_sums)

    def _serve(self, asker: int, chunk: int) -> bool:
        """Give a sum with all digests that speak for it."""
        have = self.sums.get(chunk) or self._own.get(chunk)
        if have is None:
            return False
        alike = [it for it in self._said[chunk].values() if it.digest == have.digest]
        for said in alike[1:]:
            self._core.send(asker, said)
        self._send_body(asker, alike[0], have.body)
        return True

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for; digests of a chunk are sent as many as there are."""
        if fetch.what != Wanted.SUM_DIGESTS:
            return super().answer(asker, fetch)
        key = (asker, fetch.first)
        served = self._digests_served.get(key, 0)
        if fetch.first in self._said and served < SERVES_MAX:
            self._digests_served[key] = served + 1
            for said in self._said[fetch.first].values():
                self._core.send(asker, said)
        return None

    def ask_digests(self, rank: int) -> None:
        """Ask a member by which digests it took its sums; two of one signer name it."""
        for chunk in self._live:
            self._core.fetch(rank, Wanted.SUM_DIGESTS, chunk)

    def digests_of(self, chunk: int) -> tuple[SumDigest, ...]:
        """Return the signed digests of a chunk's sum that we have seen, by rank."""
        return tuple(said for _, said in sorted(self._said.get(chunk, {}).items()))
