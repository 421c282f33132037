"""Who vouches for a chunk's sum, and which sums liars falsify: worked out anew, from messages."""

from typing import Any

from p2pfl_gossip.actions import Action, Send, SendBulk, Ticket, Work
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Unmask
from p2pfl_gossip.masked_sum.messages import Ballot, Proposal, Reveal, SumDigest, SumHeader
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Checker, Violation


class OneBallot(Checker):
    """No two honest peers reveal shares for different ballots of one session.

    It also notes for other checkers which sums are false although all rules were kept. The first
    two of a chunk's live owners and its deputies are its vouchers (docs/protocol.md): where both
    lie, and sign the same sum, the others believe it. Nothing less may do.
    """

    actions = (Send, SendBulk, Work)

    def __init__(self) -> None:
        self._ballots: dict[bytes, Ballot] = {}
        self._agreed: dict[bytes, tuple[int, ...]] = {}  # U2, by transcript.
        self._revealed: dict[bytes, tuple[int, bytes]] = {}  # By session.
        self._jobs: dict[tuple[int, Ticket], tuple[bytes, int]] = {}
        # By ballot and chunk: the digest of the true sum, and of those that liars told, by liar.
        self._true: dict[tuple[bytes, int], bytes] = {}
        self._told: dict[tuple[bytes, int], dict[int, dict[bytes, None]]] = {}
        self._last_message: Message | None = None

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Note what machines work out, before a liar changes it."""
        if name == "on_start":
            self._jobs = {key: job for key, job in self._jobs.items() if key[0] != host}
        if name == "on_work_done":
            ticket, result = arguments
            key = self._jobs.pop((host, ticket), None)
            if key is not None and isinstance(result, ChunkSum):
                if self.watched.is_honest(host):
                    self._true[key] = result.digest
                else:
                    self._true.setdefault(key, result.digest)

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note what is agreed, revealed and told."""
        if isinstance(action, Work):
            if isinstance(action.job, Unmask):
                self._jobs[host, action.ticket] = (action.job.ballot, action.job.chunk)
        elif isinstance(action, Send):
            if action.message is not self._last_message:
                self._last_message = action.message
                self._note(host, action.message)
        elif isinstance(action, SendBulk):
            self._note(host, action.header)

    def _note(self, host: int, message: Message) -> None:
        match message:
            case Proposal():
                self._agreed[message.tau2()] = _ranks(message.members)
            case Ballot():
                self._ballots[message.digest()] = message
            case Reveal() if self.watched.is_honest(host):
                self._note_reveal(host, message)
            case SumDigest() | SumHeader() if not self.watched.is_honest(host):
                if message.ballot in self._ballots:
                    told = self._told.setdefault((message.ballot, message.chunk), {})
                    told.setdefault(host, {})[message.digest] = None

    def _note_reveal(self, host: int, message: Reveal) -> None:
        other, first = self._revealed.setdefault(message.session, (host, message.ballot))
        if message.ballot != first:
            raise Violation(f"peers {other} and {host} reveal for two ballots of one session")

    def ballot_of(self, session: bytes) -> Ballot | None:
        """Return the ballot for which a session's honest members revealed, if any had to."""
        _, name = self._revealed.get(session, (0, b""))
        return self._ballots.get(name)

    def falsified(self, ballot: Ballot, round_: int, cohort: tuple[int, ...]) -> tuple[int, ...]:
        """Return the chunks whose sum liars could falsify, and did.

        Args:
            ballot: of a session.
            round_: its round.
            cohort: its members, by rank.
        """
        name, liars, count = ballot.digest(), self.watched.liars, len(ballot.owners)
        first_place = round_ * count if count < len(cohort) else 0
        found = []
        for chunk in range(count):
            told = self._told.get((name, chunk), {})
            if len(told) < 2:
                continue
            vouchers = [cohort[rank] for rank in self._vouchers(ballot, chunk, first_place)]
            if len(vouchers) == 2 and liars.issuperset(vouchers):
                first, second = (told.get(host, {}) for host in vouchers)
                alike = first.keys() & second.keys()
                if alike - {self._true.get((name, chunk))}:
                    found.append(chunk)
        return tuple(found)

    def _vouchers(self, ballot: Ballot, chunk: int, first_place: int) -> list[int]:
        """Return the first two of a chunk's live owners and then its deputies, of U3."""
        members = self._agreed[ballot.tau2]
        start = (chunk + first_place) % len(members)
        ring = members[start:] + members[:start]
        live = [rank for place, rank in enumerate(ring) if ballot.owners[chunk] >> place & 1]
        deputies = [rank for rank in ring if rank in _ranks(ballot.members) and rank not in live]
        return [*live, *deputies][:2] if live else []


def _ranks(bitmap: bytes) -> tuple[int, ...]:
    bits = int.from_bytes(bitmap, "little")
    return tuple(rank for rank in range(8 * len(bitmap)) if bits >> rank & 1)
