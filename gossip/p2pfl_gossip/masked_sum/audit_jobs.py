"""The heavy parts of a sum's audit, as pure jobs: the coin, the sketches, the proofs."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from p2pfl_crypto.audit.checking import ProofShown, check_all
from p2pfl_crypto.audit.curve import add_all, multiply_base
from p2pfl_crypto.audit.shortness import SketchTooLong, prove
from p2pfl_crypto.audit.sketch import sketch_of, sketches_of, square_norm_max
from p2pfl_crypto.audit.transcript import Statement
from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_crypto.masks import Masked
from p2pfl_crypto.shamir import GROUP_ORDER, InvalidShare, Rebuilder
from p2pfl_crypto.transcripts import audit_seed, proof_context
from p2pfl_gossip.actions import Job, LocalProtocolError, Vector
from p2pfl_gossip.masked_sum.secret_job import SecretJob
from p2pfl_gossip.records import Record

MEAN_NORM_MAX = 1.3
"""Of the clip: the longest mean that is signed. Members that keep to their bounds reach 1.27."""


def bound_of(encoding: DeltaEncoding, weight: float, entries: int) -> int:
    """Return T for a member of that weight: the largest square of its sketch's norm."""
    return square_norm_max(encoding.quantum_max, weight / encoding.weight_max, entries)


class AuditedSum(Record, frozen=True):
    """What is audited.

    Attributes:
        session: the session's name.
        ballot: digest of the certified ballot.
        sums: digest of the digests of all chunks' sums, D.
    """

    session: bytes
    ballot: bytes
    sums: bytes

    def context(self, seed: bytes, rank: int) -> bytes:
        """Name what a member proves, where, and by which seed."""
        return proof_context(self.session, self.ballot, self.sums, seed, rank)


class TossCoin(Job, frozen=True):
    """Rebuild the sum of all coins from t sums of shares, and make the seed of it.

    Attributes:
        audited: which sum the seed is for.
        threshold: shares that restore a secret.
        shares: sums of shares by x, at least t.
        points: each coin's multiple of the base point, as its dealer's header has it.
    """

    audited: AuditedSum
    threshold: int
    shares: dict[int, bytes]
    points: tuple[bytes, ...]


class TossSingly(Job, frozen=True):
    """Rebuild each coin by itself, from shares that their dealers' headers name.

    Attributes:
        audited: which sum the seed is for.
        threshold: shares that restore a secret.
        shares: by dealer, by x.
        points: each coin's multiple of the base point, by dealer.
    """

    audited: AuditedSum
    threshold: int
    shares: dict[int, dict[int, bytes]]
    points: dict[int, bytes]


class CheckCoinSum(Job, frozen=True):
    """Hold a sum of all coins, as another member says it, against what all promised.

    Attributes:
        audited: which sum the seed is for.
        coin: the sum.
        points: each coin's multiple of the base point, as its dealer's header has it.
    """

    audited: AuditedSum
    coin: bytes
    points: tuple[bytes, ...]


class Tossed(Record, frozen=True):
    """The end of a toss.

    Attributes:
        seed: empty if the coins are not those promised.
        coin: the sum of all coins, if they are; public from then on.
        liars: who dealt falsely, each with the x of t shares that do not give the coin promised.
    """

    seed: bytes
    coin: bytes = b""
    liars: tuple[tuple[int, tuple[int, ...]], ...] = ()


class OwnInput(SecretJob, frozen=True):
    """What a member of U3 put in, and what it needs to prove its length.

    Attributes:
        encoding: of the session.
        parts: number and float32[k] entries of each chunk that has a sum.
        weight: the member's.
        rounding_key: by which the parts were encoded.
        bound: T.
        blinding: 32 bytes, the number r modulo L; all of U3's add up to nothing.
        entropy: 32 secret bytes.
        rank: the member's.
    """

    encoding: DeltaEncoding
    parts: tuple[tuple[int, Vector], ...]
    weight: float
    rounding_key: bytes
    bound: int
    blinding: bytes
    entropy: bytes
    rank: int

    def encode(self, chunk: int, part: Vector) -> Masked:
        """Encode a part once more, to the same words."""
        entries = np.asarray(part, np.float32)
        return self.encoding.encode_body(entries, self.weight, self.rounding_key, chunk)[0]


class SketchRound(SecretJob, frozen=True):
    """Sketch the sum, and prove that the sketch of one's own input is short.

    Attributes:
        audited: which sum.
        seed: of the sketches.
        totals: number and uint32[k] sum of each chunk that has one.
        own: None if the member is not in the sum.
    """

    audited: AuditedSum
    seed: bytes
    totals: tuple[tuple[int, Masked], ...]
    own: OwnInput | None


class Sketched(Record, frozen=True):
    """The end of a `SketchRound`.

    Attributes:
        sum_sketch: 256 integers.
        sum_norm: of the whole sum, in quanta.
        commitment: to the own sketch; empty if there is none, or it is too long to be proved short.
        proof: that it is short.
    """

    sum_sketch: tuple[int, ...]
    sum_norm: float
    commitment: bytes = b""
    proof: bytes = b""


class ShownBy(Record, frozen=True):
    """One member's commitment and proof, and the bound that it has to keep."""

    rank: int
    commitment: bytes
    proof: bytes
    bound: int


class CheckProofs(SecretJob, frozen=True):
    """Check all proofs of a round, and that the commitments add up to the sum's sketch.

    Attributes:
        audited: which sum.
        seed: of the sketches.
        shown: by all of U3.
        sum_sketch: of the sum.
        entropy: 32 secret bytes, which no prover knows.
    """

    audited: AuditedSum
    seed: bytes
    shown: tuple[ShownBy, ...]
    sum_sketch: tuple[int, ...]
    entropy: bytes


class ProofsChecked(Record, frozen=True):
    """The end of a `CheckProofs`: whose proof shows nothing, and whether the total opens."""

    invalid: tuple[int, ...]
    opens: bool


def perform_audit(job: Job) -> Record:
    """Do a job of an audit.

    Raises:
        LocalProtocolError: the job is none of them, nor of a masked sum.
    """
    match job:
        case TossCoin():
            return _toss(job)
        case CheckCoinSum():
            return _check_coin_sum(job)
        case TossSingly():
            return _toss_singly(job)
        case SketchRound():
            return _sketch(job)
        case CheckProofs():
            return _check(job)
    raise LocalProtocolError(f"{type(job).__name__} is no job of a masked sum")


def _toss(job: TossCoin) -> Tossed:
    try:
        coin = Rebuilder.of(job.shares, job.threshold).rebuild(job.shares)
    except InvalidShare:
        return Tossed(b"")
    return _check_coin_sum(CheckCoinSum(job.audited, coin, job.points))


def _check_coin_sum(job: CheckCoinSum) -> Tossed:
    try:
        is_promised = multiply_base(int.from_bytes(job.coin, "little")) == add_all(job.points)
    except (ValueError, RuntimeError):  # Points off the curve.
        is_promised = False
    return _tossed(job.audited, job.coin) if is_promised else Tossed(b"")


def _tossed(audited: AuditedSum, coin: bytes) -> Tossed:
    return Tossed(audit_seed(audited.ballot, audited.sums, coin), coin)


def _toss_singly(job: TossSingly) -> Tossed:
    liars, total = {}, 0
    for dealer, shares in job.shares.items():
        coin, found = _rebuild_coin(shares, job.threshold, job.points[dealer])
        if found:
            liars[dealer] = found
        total += coin
    if liars:
        return Tossed(b"", liars=tuple(liars.items()))
    return _tossed(job.audited, (total % GROUP_ORDER).to_bytes(32, "little"))


def _rebuild_coin(
    shares: dict[int, bytes], threshold: int, point: bytes
) -> tuple[int, tuple[int, ...]]:
    """Rebuild a coin; where its shares do not all give it, return the x of t that do not."""

    def is_right(secret: bytes) -> bool:
        return multiply_base(int.from_bytes(secret, "little")) == point

    found = contradiction(shares, threshold, is_right)
    if found:
        return 0, found
    secret = rebuilt({x: shares[x] for x in sorted(shares)[:threshold]})
    assert secret is not None
    return int.from_bytes(secret, "little"), ()


def gives_coin(shares: Mapping[int, bytes], point: bytes) -> bool:
    """Tell whether exactly t shares, by x, give the coin of which this is the multiple."""
    secret = rebuilt(shares)
    return secret is not None and multiply_base(int.from_bytes(secret, "little")) == point


def rebuilt(shares: Mapping[int, bytes]) -> bytes | None:
    """Rebuild a secret from exactly t shares, by x; None if one of them is no scalar."""
    try:
        return Rebuilder.of(shares, len(shares)).rebuild(shares)
    except InvalidShare:
        return None


def contradiction(
    shares: Mapping[int, bytes], threshold: int, is_right: Callable[[bytes], bool]
) -> tuple[int, ...]:
    """Return the x of t shares that do not give the right secret, if there are such."""
    xs = sorted(shares)
    first = xs[:threshold]
    # A share that is not on the line of the others gives another secret in place of one of them.
    for x in (first[-1], *xs[threshold:]):
        tried = (*first[:-1], x)
        secret = rebuilt({it: shares[it] for it in tried})
        if secret is None or not is_right(secret):
            return tried
    return ()


def _sketch(job: SketchRound) -> Sketched:
    totals = [(chunk, total.view(np.int32)) for chunk, total in job.totals]
    square = math.fsum(float(np.square(total, dtype=np.float64).sum()) for _, total in totals)
    own = job.own
    if own is None:
        return Sketched(tuple(sketch_of(job.seed, totals).tolist()), math.sqrt(square))
    inputs = (own.encode(chunk, part).view(np.int32) for chunk, part in own.parts)
    pairs = ((chunk, (total, body)) for (chunk, total), body in zip(totals, inputs, strict=True))
    of_sum, sketch = sketches_of(job.seed, 2, pairs)
    sum_sketch = tuple(of_sum.tolist())
    context = job.audited.context(job.seed, own.rank)
    blinding = int.from_bytes(own.blinding, "little")
    try:
        shown = prove(context, own.bound, sketch.tolist(), blinding, own.entropy)
    except SketchTooLong:  # One honest sketch of 3e8: there is nothing true to say.
        shown = (b"", b"")
    return Sketched(sum_sketch, math.sqrt(square), *shown)


def _check(job: CheckProofs) -> ProofsChecked:
    shown = [
        ProofShown(
            Statement(job.audited.context(job.seed, it.rank), it.bound, it.commitment), it.proof
        )
        for it in job.shown
    ]
    verdict = check_all(shown, job.sum_sketch, job.entropy)
    return ProofsChecked(
        tuple(job.shown[place].rank for place in verdict.invalid), opens=verdict.opens
    )
