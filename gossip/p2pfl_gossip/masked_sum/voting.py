"""VOTE: one U3 and one owner map for all chunks, certified by t identical votes.

What may be revealed of a member follows from U3: its seed if it is in, its mask scalar if it is
out, never both. Two certificates would take an honest member that voted twice; a vote is
journalled before it is sent, and a restarted member is silent.
"""

from collections.abc import Iterator

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.choices import cover, most_backed, not_backing
from p2pfl_gossip.masked_sum.core import EARLIER_SHARE, Core, is_known, turn_bytes
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.journal import SessionJournal, Step
from p2pfl_gossip.masked_sum.messages import Ballot, Fetch, SessionMessage, Vote, Wanted

BALLOTS_MAX = 2
"""Kept of one turn; as for proposals."""


class Voting:
    """The fourth phase. `certified` is set once t votes are held for a ballot that we know."""

    def __init__(self, core: Core, journal: SessionJournal, exchange: Exchange) -> None:
        self._core, self._journal, self._exchange = core, journal, exchange
        self._ballots: dict[bytes, Ballot] = {}
        self._votes: dict[bytes, dict[int, Vote]] = {}
        self._votes_told: dict[int, int] = {}  # How often, by who asked.
        self._vote_of: dict[int, Vote] = {}
        self._is_in_time = False  # Whether we voted so early that all could.
        self._is_waiting = False
        self._proposed: dict[int, Ballot] = {}  # By us, by turn.
        self._repairs = 0
        self._asked_for_gone: dict[int, None] | None = None
        self.certified: Ballot | None = None

    @property
    def absent(self) -> tuple[int, ...]:
        """Members that did not vote for what most voted for, where these were too few."""
        core = self._core
        listed, liars_max = self._exchange.listed, core.cohort.liars_max
        in_time = self._is_in_time
        return not_backing(listed, self._votes, liars_max, core.rank, in_time=in_time)

    def start(self) -> None:
        """Wait for the leader's ballot, or make it."""
        core = self._core
        self._pass_over_away()
        self._begin_turn()
        core.set_timer("repair", core.cohort.patience.gather_s, self._repair)
        self.progress()

    def _begin_turn(self) -> None:
        """Give a leader the time to gather receipts, and then to lead."""
        core, patience = self._core, self._core.cohort.patience
        # Other owners may still wait for chunks that we do not own, and be here that much later.
        # The first turn ends for all at one time, or else the last is over when its leader speaks.
        until_late_s = 0 if self._exchange.is_late else patience.gather_s + patience.chunks_s
        if core.is_leader:
            core.set_timer("lead", until_late_s + patience.gather_s, self._lead)
        turn_s = until_late_s + patience.gather_s + patience.takeover_s
        core.set_turn(turn_s, self._next_turn)

    def _lead(self) -> None:
        """Propose, or look again soon."""
        self._core.lead(phases.VOTE, self._proposed, self._propose)

    def _pass_over_away(self) -> bool:
        """Let nobody lead that is not listed, or that cannot be reached and has said nothing."""
        core = self._core
        if not core.cohort.passes_over_away:
            return False
        spoke = [core.cohort.leader(it.turn) for it in self._ballots.values()]
        return core.pass_over(
            lambda leader: (
                leader not in self._exchange.listed or (leader in core.gone and leader not in spoke)
            )
        )

    def progress(self) -> None:
        """Do whatever has become possible."""
        core = self._core
        if core.phase not in (phases.CHUNK, phases.VOTE):
            return
        is_to_lead = core.phase == phases.VOTE and core.is_leader and not self._is_waiting
        if is_to_lead and not self._followable():
            exchange = self._exchange
            if (
                all(rank in core.gone or self._has_spoken(rank) for rank in exchange.members)
                and not self._waits_for_gone()
            ):
                self._propose()
                return
        if core.rank not in self._vote_of:
            self._try_to_vote()
        self._try_to_certify()

    def _waits_for_gone(self) -> bool:
        """Ask, once, for what members said that we cannot reach and that brought others chunks."""
        core, exchange = self._core, self._exchange
        if self._asked_for_gone is None:
            lacking = [
                rank
                for rank in exchange.members
                if rank in core.gone
                and not self._has_spoken(rank)
                and any(
                    exchange.has_receipted(owner, chunk, core.cohort.pack((rank,)))
                    for owner in exchange.receipts
                    for chunk in exchange.owned(owner)[:1]
                )
            ]
            self._asked_for_gone = dict.fromkeys(lacking)
            for rank in lacking:
                for other in exchange.members:
                    if other not in core.gone:
                        core.fetch(other, Wanted.MANIFEST, rank)
                        core.fetch(other, Wanted.RECEIPT, rank)
            if lacking:
                wait_s = core.cohort.patience.gather_s * EARLIER_SHARE
                core.set_timer("gone", wait_s, self._wait_no_longer_for_gone)
        return not all(self._has_spoken(rank) for rank in self._asked_for_gone)

    def _wait_no_longer_for_gone(self) -> None:
        self._asked_for_gone = {}
        self.progress()

    def _has_spoken(self, rank: int) -> bool:
        """Whether we have a member's manifest, and its receipt if it owns chunks."""
        exchange = self._exchange
        return rank in exchange.manifests and (rank in exchange.receipts or not exchange.owns(rank))

    def _choose(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Choose live owners and U3 from what we know; U3 may be too small."""
        exchange, cohort = self._exchange, self._core.cohort
        # Others will ask us for what the ballot rests on.
        givers, receipters = exchange.proven()
        receipted = {rank: exchange.receipted(rank) for rank in receipters}
        missing = [
            (owner, giver)
            for owner, chunks in receipted.items()
            for giver in givers
            if any(giver not in members for members in chunks.values())
        ]

        def leaves_no_chunk_dead(owner: int, before: list[int]) -> bool:
            return all(
                any(
                    other in receipted and other != owner and other not in before
                    for other in cohort.owners_of(chunk, exchange.members)
                )
                for chunk in receipted[owner]
            )

        # An owner less leaves chunks that one more crash kills, for everybody.
        dropped_owners, dropped_givers = cover(
            missing, leaves_no_chunk_dead, is_holder_cheaper=False
        )
        if len(givers) - len(dropped_givers) < cohort.contributors_min:
            # Better a dead chunk than no sum: liars may own both copies of one.
            dropped_owners, dropped_givers = cover(
                missing, lambda _owner, _before: True, is_holder_cheaper=True
            )
        owners = tuple(rank for rank in receipted if rank not in dropped_owners)
        return owners, tuple(rank for rank in givers if rank not in dropped_givers)

    def _propose(self) -> None:
        core, cohort, exchange = self._core, self._core.cohort, self._exchange
        if core.phase != phases.VOTE:
            return
        if core.turn in self._proposed:  # What is said once is said for good.
            core.broadcast(self._proposed[core.turn])
            return
        known = self._ballot_to_repeat()
        if known is not None:
            members, owner_map, digests = known.members, known.owners, known.manifest_digests
        else:
            owners, chosen = self._choose()
            if len(chosen) < cohort.contributors_min:
                return
            members = cohort.pack(chosen)
            owner_map = bytes(
                sum(
                    1 << place
                    for place, owner in enumerate(cohort.owners_of(chunk, exchange.members))
                    if owner in owners
                )
                for chunk in range(cohort.chunk_count)
            )
            if not any(owner_map):
                return
            digests = b"".join(exchange.manifest_digests[rank] for rank in chosen)
        unsigned = Ballot(
            cohort.session, core.turn, exchange.tau2, members, owner_map, digests, bytes(64)
        )
        message = Ballot(
            cohort.session,
            core.turn,
            exchange.tau2,
            members,
            owner_map,
            digests,
            core.sign(b"ballot", turn_bytes(core.turn), unsigned.digest()),
        )
        core.broadcast(message)
        self._proposed[core.turn] = message
        if not is_known(self._ballots, message.digest(), core.turn):
            self._ballots[message.digest()] = message
        self.progress()

    def _followable(self) -> dict[bytes, Ballot]:
        """Return the ballots that may be voted for by now."""
        return self._core.followable(self._ballots, self._votes)

    def _ballot_to_repeat(self) -> Ballot | None:
        liars_max = self._core.cohort.liars_max
        return most_backed(self._followable(), self._votes, liars_max, self._is_borne_out)

    def on_ballot(self, sender: int, message: Ballot) -> None:
        """Keep a leader's ballot; vote for it if we may."""
        core, cohort, exchange = self._core, self._core.cohort, self._exchange
        if message.turn >= cohort.leader_turns_max:
            raise RemoteProtocolError("no_such_turn")
        if message.tau2 != exchange.tau2:
            raise RemoteProtocolError("wrong_transcript")
        ranks = core.unpack(message.members)
        if len(ranks) < cohort.contributors_min:
            raise RemoteProtocolError("too_few_members")
        if any(rank not in exchange.members for rank in ranks):
            raise RemoteProtocolError("not_in_agreement")
        if len(message.manifest_digests) != 32 * len(ranks):
            raise RemoteProtocolError("bad_ballot")
        if (
            len(message.owners) != cohort.chunk_count
            or any(live >> cohort.owner_count for live in message.owners)
            or not any(message.owners)
        ):
            raise RemoteProtocolError("bad_owner_map")
        digest = message.digest()
        if is_known(self._ballots, digest, message.turn):
            return
        leader = cohort.leader(message.turn)
        core.verify(leader, b"ballot", message.signature, turn_bytes(message.turn), digest)
        of_turn = [other for other in self._ballots.values() if other.turn == message.turn]
        for other in of_turn:
            core.blame(leader, "two_ballots", other, message)
        if len(of_turn) >= BALLOTS_MAX and len(self._votes.get(digest, ())) <= cohort.liars_max:
            return
        self._ballots[digest] = message
        self._fetch_for(message, sender)
        self.progress()

    def _fetch_for(self, ballot: Ballot, source: int) -> None:
        """Ask for what we need to check a ballot.

        Of what we hold in another version only once we may follow it: what a leader of a turn that
        never comes makes up would cost n questions.
        """
        core, exchange = self._core, self._exchange
        if source == core.rank:
            return
        backers = len(self._votes.get(ballot.digest(), ()))
        may_follow = core.may_follow(ballot.turn, backers=backers)
        if may_follow:
            exchange.keep_versions(self._manifests_of(ballot))
        for rank, digest in self._manifests_of(ballot):
            is_other = may_follow and not exchange.has_manifest(rank, digest)
            if rank not in exchange.manifests or is_other:
                core.fetch(source, Wanted.MANIFEST, rank)
        for rank in self.named_owners(ballot):
            is_other = may_follow and not self._has_receipted_its(ballot, rank)
            if rank not in exchange.receipts or is_other:
                core.fetch(source, Wanted.RECEIPT, rank)

    def _has_receipted_its(self, ballot: Ballot, owner: int) -> bool:
        """Whether an owner says that it holds what a ballot has it hold."""
        exchange = self._exchange
        return owner in exchange.receipts and all(
            exchange.has_receipted(owner, chunk, ballot.members)
            for chunk in exchange.owned(owner)
            if owner in self.live_owners(ballot, chunk)
        )

    def live_owners(self, ballot: Ballot, chunk: int) -> tuple[int, ...]:
        """Return the owners of a chunk that a ballot names, primary first."""
        ring = self._core.cohort.owners_of(chunk, self._exchange.members)
        return tuple(owner for place, owner in enumerate(ring) if ballot.owners[chunk] >> place & 1)

    def named_owners(self, ballot: Ballot) -> tuple[int, ...]:
        """Return all live owners of a ballot, ascending."""
        named: dict[int, None] = {}
        for chunk in range(self._core.cohort.chunk_count):
            named |= dict.fromkeys(self.live_owners(ballot, chunk))
        return tuple(sorted(named))

    def _is_borne_out(self, ballot: Ballot) -> bool:
        """Whether manifests and receipts that we hold ourselves say what a ballot says."""
        exchange = self._exchange
        if any(owner not in exchange.receipts for owner in self.named_owners(ballot)):
            return False
        if not all(exchange.has_manifest(*named) for named in self._manifests_of(ballot)):
            return False
        return all(
            exchange.has_receipted(owner, chunk, ballot.members)
            for chunk in range(self._core.cohort.chunk_count)
            for owner in self.live_owners(ballot, chunk)
        )

    def _manifests_of(self, ballot: Ballot) -> Iterator[tuple[int, bytes]]:
        """Give the members of U3, and the digests of their manifests that are summed."""
        for place, rank in enumerate(self._core.unpack(ballot.members)):
            yield rank, ballot.manifest_digests[32 * place : 32 * place + 32]

    def _try_to_vote(self) -> None:
        core = self._core
        for digest, ballot in self._followable().items():
            if self._is_borne_out(ballot):
                self._is_in_time = core.is_in_time(ballot.turn)
                core.actions.append(self._journal.advance(Step.VOTED, digest))
                signature = core.sign(b"vote", digest)
                vote = Vote(core.cohort.session, core.rank, digest, signature)
                self._vote_of[core.rank] = vote
                self._votes.setdefault(digest, {})[core.rank] = vote
                core.broadcast(vote)
                return

    def on_vote(self, sender: int, message: Vote) -> None:
        """Count a vote, whoever brings it."""
        core = self._core
        rank = message.member
        core.require_member(rank)
        known = self._vote_of.get(rank)
        if known == message or rank == core.rank:
            return
        core.verify_passed_on(sender, rank, b"vote", message.signature, lambda: (message.ballot,))
        if known is not None:
            if known.ballot != message.ballot:
                said = [(it, it.signature, (it.ballot,)) for it in (known, message)]
                core.blame_two(rank, "two_votes", b"vote", *said)
            return
        self._vote_of[rank] = message
        self._votes.setdefault(message.ballot, {})[rank] = message
        if message.ballot not in self._ballots:
            core.fetch(sender, Wanted.BALLOT)
        self.progress()

    def _try_to_certify(self) -> None:
        core = self._core
        for digest, votes in self._votes.items():
            if len(votes) >= core.cohort.threshold and digest in self._ballots:
                self.certified = self._ballots[digest]
                if core.phase == phases.CHUNK:
                    core.advance(phases.VOTE)
                core.advance(phases.REVEAL)
                return

    def _repair(self) -> None:
        """Ask for receipts, manifests and votes that may have been lost."""
        core, exchange = self._core, self._exchange
        if core.is_leader and not self._followable():
            for rank in exchange.members:
                if rank == core.rank:
                    continue
                if rank not in exchange.receipts and exchange.owns(rank):
                    core.fetch(rank, Wanted.RECEIPT, rank)
                if rank not in exchange.manifests:
                    core.fetch(rank, Wanted.MANIFEST, rank)
        for digest, ballot in self._ballots.items():
            # Who voted for it holds all that it rests on; its leader may be dead.
            holders = list(self._votes.get(digest, ())) or [core.cohort.leader(ballot.turn)]
            self._fetch_for(ballot, holders[self._repairs % len(holders)])
        self._repairs += 1
        # Whose votes are here may have heard others', one of m + 1 of them for sure.
        shift = self._repairs * (core.cohort.liars_max + 1)
        asked = [
            core.others[(core.rank + shift + place) % len(core.others)]
            for place in range(core.cohort.liars_max + 1)
        ]
        for rank in core.others:
            if rank not in self._vote_of or rank in asked:
                core.fetch(rank, Wanted.VOTE)
        for digest, votes in self._votes.items():
            if digest not in self._ballots:
                core.fetch(next(iter(votes)), Wanted.BALLOT)
        core.set_timer("repair", core.cohort.patience.gather_s, self._repair)

    def _next_turn(self) -> None:
        core, patience = self._core, self._core.cohort.patience
        if not core.end_turn():
            first_turn_s = 2 * patience.gather_s + patience.chunks_s + patience.takeover_s
            if not core.wait_for_others(first_turn_s, self._next_turn):
                core.abort("no_certificate")
            return
        self._pass_over_away()
        core.set_turn(patience.takeover_s, self._next_turn)
        own = self._vote_of.get(core.rank)
        if own is not None:
            core.broadcast(own)
        if core.is_leader:
            self._propose()
        self.progress()

    def _wait_for_earlier(self) -> None:
        """Say nothing of our own yet: the leader that is gone may have spoken to others."""
        core = self._core
        self._is_waiting = True

        def go_on() -> None:
            self._is_waiting = False
            self.progress()

        core.set_timer("earlier", core.cohort.patience.gather_s * EARLIER_SHARE, go_on)

    def on_gone(self) -> None:
        """Wait no longer for a member that cannot be reached; nor for it to lead."""
        if self._pass_over_away():
            self._begin_turn()
            self._wait_for_earlier()
        self.progress()

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for.

        Once t members have voted alike, it is given their votes: else liars could keep theirs from
        one member alone, which would then lack what all others go on with.
        """
        core = self._core
        own = self._vote_of.get(core.rank)
        if fetch.what == Wanted.VOTE:
            told = self._votes_told.get(asker, 0)
            if self.certified is not None and told < SERVES_MAX:
                self._votes_told[asker] = told + 1
                for rank, vote in self._votes[self.certified.digest()].items():
                    if rank != core.rank and core.is_proven(
                        rank, b"vote", vote.signature, vote.ballot
                    ):
                        core.send(asker, vote)
            return own
        if fetch.what == Wanted.BALLOT:
            return self._ballots.get(own.ballot) if own else None
        return None
