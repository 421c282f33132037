"""What honest peers must agree on: the mean of a cohort, and that it is the true one."""

from itertools import pairwise
from typing import Any

import numpy as np

from p2pfl_crypto.encoding import Encoding
from p2pfl_gossip.actions import Action, Report, Send, Ticket, Vector, Work
from p2pfl_gossip.events import MaskedSumEnded, RoundEnded, RoundStarted
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.masked_sum.messages import Ballot, Manifest
from p2pfl_simulations.checkers.base import Checker, Violation, fingerprint
from p2pfl_simulations.checkers.vouching import OneBallot

SESSIONS_KEPT = 4
"""Of each peer: vectors of its last sessions, until their sums are known."""


class OneMean(Checker):
    """No two honest peers end a round with different models as the complete mean of one cohort.

    In the open, a member that lies tells everybody another mean, and nothing is demanded; nor of
    algorithms without cohorts. There, a member that restarts may begin a round again, as far back
    as its disk says: it trains another model, so nothing is demanded of its cohort in that round.
    Where models are masked, a member is in one sum of a round, whatever it begins again; and means
    may differ in a chunk that its two vouchers falsify, and nowhere else: those two can tell each
    member another sum (docs/threats.md). No two of such means can both get a certificate.

    Args:
        sums: of the same run; None where only reports are seen.
    """

    actions = (Report,)

    def __init__(self, sums: OneBallot | None = None) -> None:
        self._sums = sums
        # By round and cohort, also for those that take the certified mean of a sum that they lost.
        self._sessions: dict[tuple[int, tuple[int, ...]], bytes] = {}
        # Who had a mean first, and its chunks' fingerprints.
        self._means: dict[tuple[int, tuple[int, ...]], tuple[int, list[bytes]]] = {}
        self._begun: dict[tuple[int, int], None] = {}  # By peer and round.
        self._begun_again: dict[tuple[int, tuple[int, ...]], None] = {}

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Compare the ends of rounds."""
        event = action.event if isinstance(action, Report) else None
        if isinstance(event, RoundStarted):
            self._note_begun(host, event.round)
        if isinstance(event, MaskedSumEnded):
            cohort = self.watched.cohort_of(host, event.round)
            self._sessions[event.round, cohort] = event.session
        if not isinstance(event, RoundEnded) or not self.watched.is_honest(host):
            return
        if not self.watched.has_cohorts:
            return
        if not self.watched.hides_models and self.watched.liars:
            return
        if not np.isfinite(event.vector).all():
            raise Violation(f"peer {host} ends round {event.round} with no finite model")
        if not event.complete or event.expected < 2:
            return
        cohort = self.watched.cohort_of(host, event.round)
        if (event.round, cohort) in self._begun_again:
            return
        ballot = self._ballot_of(event.round, cohort)
        count = 1 if ballot is None else len(ballot.owners)
        ends = [chunk * len(event.vector) // count for chunk in range(count + 1)]
        model = [fingerprint(event.vector[start:end]) for start, end in pairwise(ends)]
        other, first = self._means.setdefault((event.round, cohort), (host, model))
        if model == first:
            return
        different = [chunk for chunk in range(count) if model[chunk] != first[chunk]]
        if ballot is not None and self._sums is not None:
            falsified = self._sums.falsified(ballot, event.round, cohort)
            if set(different) <= set(falsified):
                return
        raise Violation(
            f"peers {other} and {host} end round {event.round} with different complete means"
            f" of cohort {cohort}"
        )

    def _ballot_of(self, round_: int, cohort: tuple[int, ...]) -> Ballot | None:
        """Return the ballot of a cohort's sum of a round."""
        session = self._sessions.get((round_, cohort))
        if self._sums is None or session is None:
            return None
        return self._sums.ballot_of(session)

    def _note_begun(self, host: int, round_: int) -> None:
        if self.watched.hides_models or not self.watched.has_cohorts:
            return
        if (host, round_) in self._begun:
            self._begun_again[round_, self.watched.cohort_of(host, round_)] = None
        self._begun[host, round_] = None


class TrueMean(Checker):
    """The mean of a masked sum is that of the vectors of U3, within the bound of the encoding.

    That is 1.5 |U3| C over the sum of the encoded weights (encoding.py), and the rounding of
    float32. Nothing is demanded where a member of U3 masked something else than it showed its own
    machine, or where chunks keep own values; nor of a chunk that its two vouchers falsify
    (docs/threats.md). Of the other chunks it is demanded then as well.

    Args:
        sums: of the same run.
    """

    actions = (Report, Send, Work)

    def __init__(self, sums: OneBallot) -> None:
        self._sums = sums
        self._jobs: dict[tuple[int, Ticket], MaskChunk] = {}
        # By transcript and rank: the chunks that a member had masked, and their digests.
        self._masked: dict[tuple[bytes, int], dict[int, MaskChunk]] = {}
        self._digests: dict[tuple[bytes, int], dict[int, bytes]] = {}
        self._false: dict[tuple[bytes, int], None] = {}
        self._of_host: dict[int, list[tuple[bytes, int]]] = {}
        self._summed: dict[int, MaskedSumEnded] = {}
        self._last_message: Manifest | None = None
        self.compared = 0

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Note the digests of what was masked."""
        if name == "on_start":
            self._jobs = {key: job for key, job in self._jobs.items() if key[0] != host}
        if name == "on_work_done":
            ticket, result = arguments
            job = self._jobs.pop((host, ticket), None)
            if job is not None and isinstance(result, MaskedChunk):
                self._digests.setdefault((job.tau2, job.rank), {})[job.chunk] = result.digest

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note who masks what, and says so; compare the end of the round."""
        if isinstance(action, Work):
            if isinstance(action.job, MaskChunk) and isinstance(action.job.encoding, Encoding):
                self._note_job(host, action.ticket, action.job)
        elif isinstance(action, Send):
            message = action.message
            if isinstance(message, Manifest) and message is not self._last_message:
                self._last_message = message
                if not self.watched.is_honest(host):
                    self._note_manifest(message)
        elif isinstance(action, Report) and self.watched.is_honest(host):
            event = action.event
            if isinstance(event, MaskedSumEnded):
                self._summed.pop(host, None)
                if event.result == "summed" and not event.kept:
                    self._summed[host] = event
            elif isinstance(event, RoundEnded):
                summed = self._summed.pop(host, None)
                if summed is not None and summed.round == event.round:
                    self._compare(host, summed, event.vector)

    def _note_job(self, host: int, ticket: Ticket, job: MaskChunk) -> None:
        key = (job.tau2, job.rank)
        self._jobs[host, ticket] = job
        if key not in self._masked:
            kept = self._of_host.setdefault(host, [])
            kept.append(key)
            for old in kept[:-SESSIONS_KEPT]:
                self._masked.pop(old, None)
                self._digests.pop(old, None)
                self._false.pop(old, None)
            del kept[:-SESSIONS_KEPT]
        self._masked.setdefault(key, {})[job.chunk] = job

    def _note_manifest(self, message: Manifest) -> None:
        key = (message.tau2, message.member)
        digests = self._digests.get(key, {})
        true = b"".join(digests[chunk] for chunk in sorted(digests))
        if message.chunk_digests != true:
            self._false[key] = None

    def _compare(self, host: int, summed: MaskedSumEnded, mean: Vector) -> None:
        ballot = self._sums.ballot_of(summed.session)
        if ballot is None:
            return  # Nobody had to reveal: one member owns all there is.
        bits = int.from_bytes(ballot.members, "little")
        keys = [(ballot.tau2, rank) for rank in range(8 * len(ballot.members)) if bits >> rank & 1]
        if any(key in self._false for key in keys):
            return
        if any(key not in self._masked for key in keys):
            return  # A liar masked in a way of its own, or it was long ago.
        total, weights, encoded = np.zeros(len(mean)), 0.0, 0
        for key in keys:
            chunks = self._masked[key]
            vector = np.concatenate([chunks[chunk].entries for chunk in sorted(chunks)])
            job = chunks[min(chunks)]
            if len(vector) != len(mean):
                return
            encoding = job.encoding
            assert isinstance(encoding, Encoding)
            clip = encoding.clip
            total += job.weight * np.clip(vector.astype(np.float64), -clip, clip)
            weights += job.weight
            encoded += encoding.encode_weight(job.weight)
        bound = 1.5 * len(keys) * clip / encoded + 2**-23 * clip
        errors, start = np.abs(mean - total / weights), 0
        cohort = self.watched.cohort_of(host, summed.round)
        falsified = self._sums.falsified(ballot, summed.round, cohort)
        for chunk in sorted(chunks):
            end = start + len(chunks[chunk].entries)
            if chunk in falsified:
                errors[start:end] = 0.0
            start = end
        error = float(errors.max())
        self.compared += 1
        if error > bound:
            raise Violation(
                f"peer {host} ends round {summed.round} with a mean of {len(keys)} that is"
                f" {error:.3g} off: at most {bound:.3g}"
            )
