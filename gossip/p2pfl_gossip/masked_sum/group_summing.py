"""SUM, for a group: every chunk that has an owner, for all members alike.

All members are to come to one model, so no sum is done without. Whoever has one gives it, with the
digests by which it took it; the signatures say whose these are, so it does not matter who brings
them. Deputies step in for owners that cannot be reached as well.
"""

from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.jobs import ChunkSum
from p2pfl_gossip.masked_sum.messages import Fetch, SessionMessage, SumDigest, Wanted
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.summing import Summing
from p2pfl_gossip.masked_sum.voting import Voting


class GroupSumming(Summing):
    """The last phase of a group's session.

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

    @property
    def ballot(self) -> bytes:
        """Digest of the ballot that t members voted for."""
        return self._ballot

    # Which sum counts

    @property
    def absent(self) -> tuple[int, ...]:
        """Members whose word of a sum that we lack did not come, though it was theirs to give.

        Where too few gave their shares, those that did not; else owners that said nothing.
        """
        if self._revealing.masks is None and self._revealing.is_wanted:
            return self._revealing.absent
        silent: dict[int, None] = {}
        for chunk, owners in self._live.items():
            if chunk not in self.sums:
                silent |= dict.fromkeys(rank for rank in owners if rank not in self._said[chunk])
        silent.pop(self._core.rank, None)
        return tuple(sorted(silent))

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
