"""What an audit promises: no sum that counts holds more of liars than their number allows."""

import math
from typing import Any

import numpy as np

from p2pfl_gossip.actions import Action, Send, Work
from p2pfl_gossip.ledger.jobs import MakeModel
from p2pfl_gossip.masked_sum.audit_jobs import CheckProofs, OwnInput, SketchRound
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_gossip.masked_sum.messages import Coin, CoinShares, SumsSeen
from p2pfl_simulations.checkers.base import Checker, Violation

CLAIMED = 1.8
"""Clips that each liar may add to a sum that counts."""


class AuditHolds(Checker):
    """A sum that counts holds what liars add to 1.8 clips each, and else the honest inputs' sum.

    No honest member shows its coin before t have signed one digest of all sums, and none signs two.
    """

    actions = (Send, Work)

    def __init__(self) -> None:
        self._seen: dict[tuple[bytes, bytes], dict[int, None]] = {}  # By session and digest.
        self._said: dict[tuple[int, bytes], bytes] = {}  # By member and session.
        self._own: dict[bytes, dict[int, OwnInput]] = {}  # Of honest members, by session.
        self._totals: dict[tuple[int, bytes], dict[int, Any]] = {}
        self._shown: dict[bytes, tuple[int, ...]] = {}
        self._latest: dict[int, bytes] = {}
        self.checked = 0

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note what is said and worked out; check it where a model is made of it."""
        if isinstance(action, Send):
            self._note_message(host, action.message)
        elif isinstance(action, Work):
            self._note_job(host, action.job)

    def _note_message(self, host: int, message: Any) -> None:
        match message:
            case SumsSeen():
                self._seen.setdefault((message.session, message.sums), {})[host] = None
                if self.watched.is_honest(host):
                    first = self._said.setdefault((host, message.session), message.sums)
                    if first != message.sums:
                        raise Violation(f"peer {host} signs two digests of all sums of a session")
            case Coin() | CoinShares() if self.watched.is_honest(host):
                signers = self._seen.get((message.session, message.sums), {})
                needed = threshold_of(len(self.watched.members_of(host)))
                if len(signers) < needed:
                    raise Violation(
                        f"peer {host} shows its coin when {len(signers)} of {needed} have signed"
                        " the sums"
                    )

    def _note_job(self, host: int, job: Any) -> None:
        if not self.watched.is_honest(host):
            return
        match job:
            case SketchRound():
                session = job.audited.session
                self._totals[host, session] = dict(job.totals)
                self._latest[host] = session
                if job.own is not None:
                    self._own.setdefault(session, {})[host] = job.own
            case CheckProofs():
                cohort = self.watched.members_of(host)
                self._shown[job.audited.session] = tuple(cohort[it.rank] for it in job.shown)
            case MakeModel() if host in self._latest:
                self._check(host, job)

    def _check(self, host: int, job: MakeModel) -> None:
        session = self._latest[host]
        totals = self._totals[host, session]
        if any(totals.get(chunk) is not total for chunk, total in enumerate(job.sums)):
            return  # Of another session, whose audit is not the latest that this member began.
        members, inputs = self._shown[session], self._own[session]
        honest = [member for member in members if self.watched.is_honest(member)]
        square = 0.0
        for chunk, total in totals.items():
            rest = total.view(np.int32).astype(np.int64)
            for member in honest:
                own = inputs[member]
                rest -= own.encode(chunk, dict(own.parts)[chunk]).view(np.int32)
            square += float(np.square(rest, dtype=np.float64).sum())
        liars = len(members) - len(honest)
        quanta = job.encoding.quantum_max
        self.checked += 1
        if math.sqrt(square) > CLAIMED * liars * quanta:
            raise Violation(
                f"peer {host} counts a sum to which {liars} liars have added"
                f" {math.sqrt(square) / quanta:.2f} clips"
            )
