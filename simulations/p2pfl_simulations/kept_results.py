"""Results of jobs of learning on disk, so that a run that was killed need not do them again.

A run is replayed from its start: the world does all it did, and asks for the same jobs; those whose
results are here are not done. A result is found by all that decides it: the job, the model and its
peer. So it is never taken for another's, whatever order a machine works in, and the end is that
of a run that was never killed, bit for bit.
What a crash tore off at the end of the file is left out.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from p2pfl.learner.learner import Do, Helper, Learned
from p2pfl_gossip.actions import Job
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, WorkFailed
from p2pfl_gossip.own_state import NOTHING, Arrays

KEY_BYTES = CHECK_BYTES = 16
_HEAD = struct.Struct("<16sII")
HEADER_BYTES_MAX = 2**20
"""Of a file's first line, and of what is said of a result beside its arrays."""


class KeptResultsError(Exception):
    """A file that is of another run; the message is for people."""


class KeptResults:
    """The results of one run.

    A learner's `Helper`. The file grows by each model that a peer trains, and each evaluation.

    Args:
        path: the file; it is made if it is not there.
        of: what the run is of, by name: it must be the same when the file is read again.
        inner: does what is not known, in the learner's place; None for nobody.

    Attributes:
        found: results that were taken from the file.
        kept: results that were added.

    Raises:
        KeptResultsError: the file is of another run, or cannot be used.
    """

    def __init__(self, path: Path, of: Mapping[str, Any], inner: Helper | None = None) -> None:
        self.found = self.kept = 0
        self._inner = inner
        self._places: dict[bytes, tuple[int, int, int]] = {}
        line = json.dumps({"format": 1, **of}).encode() + b"\n"
        if len(line) > HEADER_BYTES_MAX:  # It would be taken for a torn one, and begun anew.
            raise KeptResultsError(
                f"{path}: settings of {len(line):,} bytes cannot be kept: at most"
                f" {HEADER_BYTES_MAX:,} can"
            )
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
            first = self._file.readline(HEADER_BYTES_MAX)
            if not first.endswith(b"\n"):  # New, or torn at once.
                self._file.seek(0)
                self._file.truncate()
                self._file.write(line)
                self._file.flush()
            elif first != line:
                self._file.close()
                raise KeptResultsError(f"{path} {_difference(first, line)}")
            self._read()
        except OSError as error:
            raise KeptResultsError(f"cannot use {path}: {error.strerror}") from None

    def run(self, role: str, jobs: Sequence[tuple[int, Job]], do: Do) -> list[Learned]:
        """Return the results of jobs: those that are known from the file, the others done."""
        results = [self.find(role, peer, job) for peer, job in jobs]
        left = [place for place, result in enumerate(results) if result is None]
        if left:
            waiting = [jobs[place] for place in left]
            inner = self._inner
            done = do(waiting) if inner is None else inner.run(role, waiting, do)
            for place, result in zip(left, done, strict=True):
                results[place] = result
                self.keep(role, *jobs[place], result)
            self._file.flush()
        return [result for result in results if result is not None]

    def find(self, role: str, peer: int, job: Job) -> Learned | None:
        """Return the result of a job; None if it was never done.

        Args:
            role: whose job it is beside the peer's: of the run, or of a baseline.
            peer: its index.
            job: what is asked for.
        """
        place = self._places.get(_key(role, peer, job))
        if place is None:
            return None
        at, header_size, body_size = place
        self._file.seek(at)
        header, body = self._file.read(header_size), self._file.read(body_size)
        self.found += 1
        return _decoded(header, body)

    def keep(self, role: str, peer: int, job: Job, result: Learned) -> None:
        """Add a result; once it is flushed, it outlives this process."""
        key = _key(role, peer, job)
        header, arrays = _encoded(result)
        size = sum(array.nbytes for array in arrays)
        head = _HEAD.pack(key, len(header), size)
        check = blake3(head + header)
        self._file.seek(0, 2)
        self._file.write(head)
        at = self._file.tell()
        self._file.write(header)
        for array in arrays:
            data = memoryview(array).cast("B")
            check.update(data)
            self._file.write(data)
        self._file.write(check.digest(CHECK_BYTES))
        self._places[key] = at, len(header), size
        self.kept += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> None:
        """Find the results' places; cut off what was torn."""
        whole = self._file.tell()
        while True:
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                break
            key, header_size, body_size = _HEAD.unpack(head)
            at = self._file.tell()
            content = self._file.read(header_size + body_size)
            if self._file.read(CHECK_BYTES) != blake3(head + content).digest(CHECK_BYTES):
                break
            self._places[key] = at, header_size, body_size
            whole = self._file.tell()
        self._file.seek(whole)
        self._file.truncate()


def _key(role: str, peer: int, job: Job) -> bytes:
    assert isinstance(job, (Train, Evaluate)), "a learner does no other job"
    stream = job.stream if isinstance(job, Train) else ""
    names = [(name, array.shape) for name, array in job.own.items()]
    told = blake3(repr((role, peer, type(job).__name__, job.round, stream, names)).encode())
    for array in (job.vector, *job.own.values()):
        told.update(np.ascontiguousarray(array).view(np.uint8).data)
    return told.digest(KEY_BYTES)


def _encoded(result: Learned) -> tuple[bytes, list[Any]]:
    if isinstance(result, Trained):
        own = [(name, array.shape) for name, array in result.own.items()]
        said: Any = ["trained", result.sample_count, result.loss, own]
        arrays = [np.ascontiguousarray(it) for it in (result.vector, *result.own.values())]
        return json.dumps(said).encode(), [it for it in arrays if it.size]
    if isinstance(result, Evaluated):
        said = ["evaluated", result.metrics, result.own, result.validation]
    else:
        assert isinstance(result, WorkFailed), "a private job is not kept"
        said = ["failed", result.reason]
    return json.dumps(said).encode(), []


def _decoded(header: bytes, body: bytes) -> Learned:
    kind, *rest = json.loads(header)
    if kind == "evaluated":
        return Evaluated(*rest)
    if kind == "failed":
        return WorkFailed(*rest)
    count, loss, shapes = rest
    values = np.frombuffer(body, np.float32)
    own: dict[str, Any] = {}
    at = len(values) - sum(int(np.prod(shape)) for _, shape in shapes)
    vector = values[:at]
    for name, shape in shapes:
        size = int(np.prod(shape))
        own[name] = values[at : at + size].reshape(shape)
        at += size
    kept: Arrays = own or NOTHING
    return Trained(vector, count, loss, kept)


def _difference(first: bytes, line: bytes) -> str:
    try:
        before, now = json.loads(first), json.loads(line)
        name = next(it for it in now if before.get(it) != now[it])
    except (ValueError, AttributeError, StopIteration):
        return "holds no results of a run"
    return f"is of a run with another {name}: start it anew, without --resume"
