"""AGREE: one U2 that t members have acknowledged.

Nothing that depends on the vector leaves a member before t ACKs for one tau2. Two sets of t
members have an honest one in common (2t > n + m), which acknowledges once: so no two tau2 get t
ACKs, whatever the leader shows to whom.
"""

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.choices import backed_most, cover, most_backed, not_backing
from p2pfl_gossip.masked_sum.core import EARLIER_SHARE, Core, is_known, turn_bytes
from p2pfl_gossip.masked_sum.journal import SessionJournal, Step
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Fetch,
    Held,
    Proposal,
    SessionMessage,
    Wanted,
)
from p2pfl_gossip.masked_sum.sharing import Sharing

PROPOSALS_MAX = 2
"""Kept of one turn. An honest leader makes one; of a liar's two, others may have acknowledged
either. More of its are kept once more members than may lie back them. Were the limit one of all
turns, liars could fill it with proposals for turns that never come."""


class Agreement:
    """The end of the second phase. `tau2` and `members` (U2) are set once t ACKs are held."""

    def __init__(self, core: Core, journal: SessionJournal, sharing: Sharing) -> None:
        self._core, self._journal, self._sharing = core, journal, sharing
        self._reports: dict[int, tuple[int, ...]] = {}
        self._proposals: dict[bytes, Proposal] = {}
        self._is_waiting = False
        self._proposed: dict[int, Proposal] = {}  # By us, by turn.
        self._acks: dict[bytes, dict[int, Ack]] = {}
        self._ack_of: dict[int, Ack] = {}
        self._is_in_time = False  # Whether we acknowledged so early that all could.
        self.tau2 = b""
        self.members: tuple[int, ...] = ()
        sharing.tell(self.progress)

    @property
    def listed(self) -> tuple[int, ...]:
        """U1."""
        return self._sharing.dealers

    @property
    def absent(self) -> tuple[int, ...]:
        """Members that did not acknowledge what most did, where these were too few.

        A leader may give few its shares, and propose a sum with itself: then the others could not.
        Where more members than may lie say so, it is missed, and they are not.
        """
        core, listed = self._core, self.listed
        liars_max, in_time = core.cohort.liars_max, self._is_in_time
        missed = not_backing(listed, self._acks, liars_max, core.rank, in_time=in_time)
        tau2 = backed_most(self._acks)
        if not missed or tau2 not in self._proposals:
            return missed
        unfair, excused = [], []
        for dealer in core.unpack(self._proposals[tau2].members):
            lacking = [it for it in missed if dealer not in self._reports.get(it, (dealer,))]
            if len(lacking) > liars_max:
                unfair.append(dealer)
                excused += lacking
        return tuple(it for it in listed if it in unfair or (it in missed and it not in excused))

    @property
    def acknowledged(self) -> tuple[int, ...]:
        """Members that we know to have said that they hold all shares of U2: t at least."""
        return tuple(sorted(self._acks.get(self.tau2, ())))

    def start(self) -> None:
        """Wait for shares, a proposal and ACKs, or make the proposal."""
        core, patience = self._core, self._core.cohort.patience
        core.set_timer("repair", patience.gather_s / 2, self._repair)
        self._pass_over_away()
        self._begin_turn()

    def _begin_turn(self) -> None:
        """Give a leader the time to gather reports, and then to lead."""
        core, patience = self._core, self._core.cohort.patience
        if core.is_leader:
            core.set_timer("lead", patience.gather_s, self._lead)
        core.set_turn(patience.gather_s + patience.takeover_s, self._next_turn)

    def _lead(self) -> None:
        """Propose, or look again soon."""
        self._core.lead(phases.AGREE, self._proposed, self._propose)

    def _pass_over_away(self) -> bool:
        """Let nobody lead that is not listed, or that cannot be reached and has said nothing."""
        core = self._core
        if not core.cohort.passes_over_away:
            return False
        spoke = [core.cohort.leader(it.turn) for it in self._proposals.values()]
        return core.pass_over(
            lambda leader: (
                leader not in self._sharing.dealers or (leader in core.gone and leader not in spoke)
            )
        )

    def _repair(self) -> None:
        """Ask for what may have been lost: shares, and the ACKs of those that may be ahead."""
        core = self._core
        self._sharing.fetch_missing()
        self._tell_held()
        if self._acks:
            for rank in self._sharing.dealers:
                if rank not in self._ack_of:
                    core.fetch(rank, Wanted.ACK)
        for tau2, acks in self._acks.items():
            if tau2 not in self._proposals:
                core.fetch(next(iter(acks)), Wanted.PROPOSAL)
        core.set_timer("repair", core.cohort.patience.gather_s / 2, self._repair)

    def _report_held(self) -> None:
        """Tell the leader whose shares we hold, if it does not know."""
        core = self._core
        held = tuple(sorted(self._sharing.shares))
        is_known = self._reports.get(core.rank) == held
        self._reports[core.rank] = held
        if not core.is_leader and not is_known:
            core.send(core.cohort.leader(core.turn), self._held(held))

    def _tell_held(self) -> None:
        """Tell all: who does not know of a dead leader yet is a turn behind those that do."""
        held = tuple(sorted(self._sharing.shares))
        self._reports[self._core.rank] = held
        self._core.broadcast(self._held(held))

    def _held(self, held: tuple[int, ...]) -> Held:
        cohort = self._core.cohort
        return Held(cohort.session, self._sharing.tau1, cohort.pack(held))

    def on_held(self, sender: int, message: Held) -> None:
        """Note whose shares a member holds."""
        held = self._core.unpack(message.dealers)
        if message.tau1 != self._sharing.tau1:
            return
        if sender not in self._sharing.dealers:
            raise RemoteProtocolError("not_in_list")
        self._reports[sender] = held
        self.progress()

    def progress(self) -> None:
        """Do whatever has become possible in AGREE."""
        core = self._core
        if core.phase != phases.AGREE or self._sharing.dealt is None:
            return
        if self._ack_of.get(core.rank) is None:
            sharing, refused = self._sharing, self._sharing.dealt.refused
            if len(sharing.shares) + len(core.gone) + len(refused) < len(sharing.dealers):
                awaited = sharing.dealers  # Some are to come: no need to ask which.
            else:
                awaited = tuple(
                    rank
                    for rank in sharing.dealers
                    if rank not in core.gone and rank not in refused
                )
                if all(rank in sharing.shares for rank in awaited):
                    self._report_held()
            if (
                core.is_leader
                and not self._followable()
                and not self._is_waiting
                and len(self._reports) >= len(awaited)
                and all(
                    rank in self._reports
                    and all(dealer in self._reports[rank] for dealer in awaited)
                    for rank in awaited
                )
            ):
                self._propose()
                return
            self._try_to_acknowledge()
        self._try_to_close()

    def _propose(self) -> None:
        core, cohort = self._core, self._core.cohort
        if core.phase != phases.AGREE:
            return
        if core.turn in self._proposed:  # What is said once is said for good.
            core.broadcast(self._proposed[core.turn])
            return
        known = self._proposal_to_repeat()
        if known is not None:
            members, digests = known.members, known.header_digests
        else:
            self._report_held()
            holders = sorted(self._reports)
            givers = self._sharing.proven_dealers(holders)
            missing = [
                (holder, giver)
                for holder in holders
                for giver in givers
                if giver not in self._reports[holder]
            ]
            spare = len(holders) - cohort.threshold
            # Each holder dropped here is one ACK less.
            _, dropped = cover(
                missing, lambda _rank, before: len(before) < spare, is_holder_cheaper=True
            )
            chosen = [rank for rank in givers if rank not in dropped]
            if len(chosen) < cohort.contributors_min:
                return
            members = cohort.pack(chosen)
            digests = b"".join(self._sharing.header_digests[rank] for rank in chosen)
        unsigned = Proposal(
            cohort.session, core.turn, self._sharing.tau1, members, digests, bytes(64)
        )
        message = Proposal(
            cohort.session,
            core.turn,
            self._sharing.tau1,
            members,
            digests,
            core.sign(b"proposal", turn_bytes(core.turn), unsigned.tau2()),
        )
        core.broadcast(message)
        self._proposed[core.turn] = message
        if not is_known(self._proposals, message.tau2(), core.turn):
            self._proposals[message.tau2()] = message
        self.progress()

    def _followable(self) -> dict[bytes, Proposal]:
        """Return the proposals that may be acknowledged by now."""
        return self._core.followable(self._proposals, self._acks)

    def _proposal_to_repeat(self) -> Proposal | None:
        liars_max = self._core.cohort.liars_max
        return most_backed(self._followable(), self._acks, liars_max, self._can_follow)

    def _can_follow(self, proposal: Proposal) -> bool:
        """Whether we hold valid shares of all whom a proposal names, as their headers have them."""
        ranks = self._core.unpack(proposal.members)
        return self._headers_match(proposal) and all(rank in self._sharing.shares for rank in ranks)

    def on_proposal(self, sender: int, message: Proposal) -> None:
        """Keep a leader's proposal of U2; acknowledge it if we may."""
        core, cohort = self._core, self._core.cohort
        if message.turn >= cohort.leader_turns_max:
            raise RemoteProtocolError("no_such_turn")
        ranks = core.unpack(message.members)
        if len(message.header_digests) != 32 * len(ranks):
            raise RemoteProtocolError("bad_proposal")
        if len(ranks) < cohort.contributors_min:
            raise RemoteProtocolError("too_few_members")
        if message.tau1 != self._sharing.tau1:
            self._sharing.on_other(sender)
            return
        if any(rank not in self._sharing.dealers for rank in ranks):
            raise RemoteProtocolError("not_in_list")
        tau2 = message.tau2()
        if is_known(self._proposals, tau2, message.turn):
            return
        leader = cohort.leader(message.turn)
        core.verify(leader, b"proposal", message.signature, turn_bytes(message.turn), tau2)
        of_turn = [other for other in self._proposals.values() if other.turn == message.turn]
        for other in of_turn:
            core.blame(leader, "two_proposals", other, message)
        if len(of_turn) >= PROPOSALS_MAX and len(self._acks.get(tau2, ())) <= cohort.liars_max:
            return
        self._proposals[tau2] = message
        self._fetch_for(message, ranks, sender)
        self.progress()

    def _fetch_for(self, message: Proposal, ranks: tuple[int, ...], sender: int) -> None:
        """Ask for the headers and shares that a proposal names and we lack."""
        core = self._core
        for place, rank in enumerate(ranks):
            digest = message.header_digests[32 * place : 32 * place + 32]
            if self._sharing.header_digests.get(rank) != digest:
                core.fetch(sender, Wanted.HEADER, rank)
            if rank not in self._sharing.shares:
                core.fetch(rank, Wanted.SHARE)

    def _headers_match(self, proposal: Proposal) -> bool:
        digests, known = proposal.header_digests, self._sharing.header_digests
        return all(
            known.get(rank) == digests[32 * place : 32 * place + 32]
            for place, rank in enumerate(self._core.unpack(proposal.members))
        )

    def _try_to_acknowledge(self) -> None:
        core = self._core
        for tau2, proposal in self._followable().items():
            if self._can_follow(proposal):
                self._is_in_time = core.is_in_time(proposal.turn)
                core.actions.append(self._journal.advance(Step.ACKED, tau2))
                ack = Ack(core.cohort.session, core.rank, tau2, core.sign(b"ack", tau2))
                self._ack_of[core.rank] = ack
                self._acks.setdefault(tau2, {})[core.rank] = ack
                core.broadcast(ack)
                return

    def on_ack(self, sender: int, message: Ack) -> None:
        """Count an acknowledgement."""
        core = self._core
        rank = message.member
        core.require_member(rank)
        if rank != sender:
            raise RemoteProtocolError("not_your_ack")
        known = self._ack_of.get(rank)
        if known == message:
            return
        if known is not None:
            if known.tau2 != message.tau2:
                said = [(it, it.signature, (it.tau2,)) for it in (known, message)]
                core.blame_two(rank, "two_acks", b"ack", *said)
            return
        self._ack_of[rank] = message
        self._acks.setdefault(message.tau2, {})[rank] = message
        if message.tau2 not in self._proposals:
            core.fetch(sender, Wanted.PROPOSAL)
        self.progress()

    def _try_to_close(self) -> None:
        """Close U2 once t members acknowledged a tau2 that we can follow."""
        core = self._core
        own = self._ack_of.get(core.rank)
        for tau2, acks in self._acks.items():
            if len(acks) < core.cohort.threshold or tau2 not in self._proposals:
                continue
            if own is not None and own.tau2 != tau2:
                continue
            if not self._headers_match(self._proposals[tau2]):
                continue
            self.tau2, self.members = tau2, core.unpack(self._proposals[tau2].members)
            core.advance(phases.CHUNK)
            return

    def proposed_members(self, tau2: bytes) -> tuple[int, ...]:
        """Return the U2 that a known proposal names, or nobody."""
        if tau2 == self.tau2:
            return self.members
        proposal = self._proposals.get(tau2)
        return self._core.unpack(proposal.members) if proposal else ()

    def _next_turn(self) -> None:
        core, cohort = self._core, self._core.cohort
        if not core.end_turn():
            first_turn_s = cohort.patience.gather_s + cohort.patience.takeover_s
            if not core.wait_for_others(first_turn_s, self._next_turn):
                core.abort("no_agreement")
            return
        self._pass_over_away()
        core.set_turn(cohort.patience.takeover_s, self._next_turn)
        own = self._ack_of.get(core.rank)
        if own is not None:
            core.broadcast(own)  # The same bytes: some may have been lost.
        self._repair()
        if core.is_leader:
            if self._proposal_to_repeat() is not None:
                self._propose()
            else:
                core.set_timer("lead", cohort.patience.takeover_s / 2, self._lead)
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
            self._repair()
        self.progress()

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if we have it."""
        own = self._ack_of.get(self._core.rank)
        if fetch.what == Wanted.PROPOSAL:
            return self._proposals.get(own.tau2) if own else None
        if fetch.what == Wanted.ACK:
            return own
        return None
