"""What must not leave a peer where models are hidden."""

from typing import Any

import numpy as np

from p2pfl_crypto.masks import Masked
from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, Send, SendBulk, Ticket, Vector, Work
from p2pfl_gossip.learning import LotSummed, Train, Trained
from p2pfl_gossip.ledger.jobs import UpdateMade
from p2pfl_gossip.ledger.private_jobs import Hidden
from p2pfl_gossip.masked_sum.jobs import MaskChunk
from p2pfl_gossip.masked_sum.messages import ChunkHeader
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Checker, Violation, fingerprint

PROBES_MAX = 16
"""Places of a trained model that are looked for in what leaves."""
PROBE_ENTRIES = 4
"""Entries in a row: 128 bits do not come twice by chance."""
MODELS_KEPT = 3
"""Trained models of each peer that are looked for: of its last rounds."""


class OwnModelStays(Checker):
    """No model that an honest peer trained leaves it in the open, where models are hidden.

    Nor does what the peer keeps of its own. Looks for runs of entries of both, bit for bit, in
    every frame and body that the peer sends.
    """

    actions = (Send, SendBulk, Work)

    def __init__(self) -> None:
        self._starts: dict[tuple[int, Ticket], tuple[int, Vector]] = {}
        self._probes: dict[int, list[tuple[int, list[bytes]]]] = {}
        self._last: dict[int, Message] = {}

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Take probes of each trained model."""
        if name != "on_work_done" or not self.watched.hides_models:
            return
        ticket, result = arguments
        started = self._starts.pop((host, ticket), None)
        if isinstance(result, Trained) and started is not None:
            kept = self._probes.setdefault(host, [])
            probes = probes_of(result.vector, started[1])
            for array in result.own.values():
                probes += probes_of(array.reshape(-1), np.zeros(array.size, np.float32))
            kept.append((started[0], probes))
            del kept[:-MODELS_KEPT]

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Look through what leaves."""
        if not self.watched.hides_models or not self.watched.is_honest(host):
            return
        if isinstance(action, Work):
            if isinstance(action.job, Train):
                self._starts[host, action.ticket] = (action.job.round, action.job.vector)
        elif host not in self._probes:
            return
        elif isinstance(action, Send):
            if self._last.get(host) is not action.message:
                self._last[host] = action.message
                self._search(host, wire.encode(action.message), action.message)
        elif isinstance(action, SendBulk) and isinstance(action.parts, tuple):
            for part in action.parts:
                data = part if isinstance(part, bytes) else memoryview(part).cast("B").tobytes()
                self._search(host, data, action.header)

    def _search(self, host: int, data: bytes, message: Message) -> None:
        for round_, probes in self._probes[host]:
            if any(probe in data for probe in probes):
                raise Violation(
                    f"peer {host} sends entries of the model that it trained in round {round_}, or"
                    f" of its own state, in the open, as {type(message).__name__}"
                )


def probes_of(vector: Vector, start: Vector) -> list[bytes]:
    """Return some runs of entries of a trained model that training has changed throughout."""
    step = max(PROBE_ENTRIES, len(vector) // PROBES_MAX)
    places = range(0, len(vector) - PROBE_ENTRIES + 1, step)
    return [
        vector[at : at + PROBE_ENTRIES].tobytes()
        for at in places
        if (vector[at : at + PROBE_ENTRIES] != start[at : at + PROBE_ENTRIES]).all()
        and len(np.unique(vector[at : at + PROBE_ENTRIES])) == PROBE_ENTRIES
    ]


class SpentOnce(Checker):
    """No model or update of an honest peer's is sent in two sessions, masked as it may be."""

    actions = (SendBulk, Work)

    def __init__(self) -> None:
        self._trained: dict[bytes, int] = {}
        self._jobs: dict[tuple[int, Ticket], MaskChunk] = {}
        self._models: dict[tuple[int, bytes], bytes] = {}  # By peer and transcript: what is masked.
        self._ranks: dict[tuple[int, bytes], int] = {}
        self._sent: dict[tuple[int, bytes], bytes] = {}  # By peer and model: in which session.

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Remember each trained model."""
        if name == "on_work_done" and self.watched.hides_models:
            _, result = arguments
            if isinstance(result, Trained):
                self._trained[fingerprint(result.vector)] = host
            elif isinstance(result, UpdateMade):
                self._trained[fingerprint(result.update)] = host
            elif isinstance(result, LotSummed | Hidden):
                self._trained[fingerprint(result.words)] = host

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note which model is masked under which transcript, and which is sent."""
        if not self.watched.hides_models or not self.watched.is_honest(host):
            return
        if isinstance(action, Work):
            if isinstance(action.job, MaskChunk):
                job = action.job
                if (host, job.tau2) not in self._models:
                    self._models[host, job.tau2] = fingerprint(_whole(job.entries))
                self._ranks[host, job.tau2] = job.rank
        elif isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader):
            header = action.header
            model = self._models.get((host, header.tau2))
            if model is None or self._ranks[host, header.tau2] != header.member:
                return  # Another member's chunk, passed on.
            session = self._sent.setdefault((host, model), header.tau2)
            if session != header.tau2 and model in self._trained:
                raise Violation(f"peer {host} sends a model that it trained in two sessions")


def _whole(entries: Vector | Masked) -> Vector | Masked:
    """Return the vector that a chunk's entries are a view of."""
    return entries.base if isinstance(entries.base, np.ndarray) else entries
