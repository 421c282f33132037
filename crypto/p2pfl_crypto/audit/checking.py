"""Checking shortness proofs: many in one multi-exponentiation, and each by itself.

All equations have the form 'a sum of known multiples of points is neutral'. Many of them hold, but
for 2^-128, if one combination does whose weights the provers could not know (Bellare, Garay &
Rabin, EUROCRYPT 1998). The generators are the same for all, so that they are multiplied once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from p2pfl_crypto.audit.commitments import (
    SLACK_ENTRIES,
    blinding_generator,
    commit_to_sketch,
    sketch_generators,
    slack_generators,
)
from p2pfl_crypto.audit.curve import (
    IDENTITY,
    InvalidPoint,
    add,
    add_all,
    combine,
    multiply_base,
    subtract,
)
from p2pfl_crypto.audit.shortness import InvalidProof, Proof, combined_of
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES
from p2pfl_crypto.audit.transcript import SHORT_ENTRIES, Statement, column_sums
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import GROUP_ORDER

_WEIGHT_BYTES = 16


@dataclass(frozen=True, slots=True)
class ProofShown:
    """A statement and the bytes that are to prove it, as they were received."""

    statement: Statement
    proof: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a round's proofs.

    Attributes:
        invalid: places of the claims whose proof shows nothing, ascending.
        opens: whether the commitments add up to the sketch of the sum, with blinding 0.
    """

    invalid: tuple[int, ...]
    opens: bool

    @property
    def holds(self) -> bool:
        """Whether all is as it should be."""
        return self.opens and not self.invalid


def check_all(claims: Sequence[ProofShown], sum_sketch: Sequence[int], entropy: bytes) -> Verdict:
    """Check all proofs of a round, and that the commitments add up to the sum's sketch.

    Args:
        claims: one of each member of U3.
        sum_sketch: the sketch of the public sum.
        entropy: at least 16 bytes that no prover knew.
    """
    parsed: list[_Equations | None] = []
    for claim in claims:
        try:
            parsed.append(_Equations.of(claim))
        except InvalidProof:
            parsed.append(None)
    proven = {place: it for place, it in enumerate(parsed) if it is not None}
    weights = _Weights(hash_parts(b"p2pfl/audit-wgt", *(c.proof for c in claims), key=entropy[:64]))
    commitments = [claim.statement.commitment for claim in claims]
    if len(proven) == len(claims) and _holds(list(proven.values()), weights, sum_sketch):
        return Verdict((), True)
    bad = dict.fromkeys(place for place, it in enumerate(parsed) if it is None)
    bad |= dict.fromkeys(_those_that_fail(proven, weights))
    try:
        opens = add_all(commitments) == commit_to_sketch(sum_sketch, 0)
    except (ValueError, RuntimeError):  # Not on the curve: its proof is among the bad.
        opens = False
    return Verdict(tuple(sorted(bad)), opens)


def check_one(claim: ProofShown) -> None:
    """Check one proof: what anybody does who is shown it as evidence.

    Raises:
        InvalidProof: says which part shows nothing.
    """
    equations = _Equations.of(claim)
    for place, name in enumerate(("sketch's opening", "slack's opening", "sum of squares")):
        weights = [int(place == at) for at in range(3)]
        try:
            if not _is_neutral([(equations, weights)]):
                raise InvalidProof(f"the {name} does not hold")
        except InvalidPoint as error:
            raise InvalidProof(f"the {name} has {error}") from None


class _Weights:
    """Random weights of 128 bits."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._drawn = seed, 0

    def three(self) -> list[int]:
        self._drawn += 1
        drawn = self._drawn.to_bytes(8, "little")
        stream = hashlib.shake_256(self._seed + drawn).digest(3 * _WEIGHT_BYTES)
        return [
            int.from_bytes(stream[at : at + _WEIGHT_BYTES], "little")
            for at in range(0, len(stream), _WEIGHT_BYTES)
        ]


@dataclass(frozen=True, slots=True)
class _Equations:
    """A proof whose numbers hold, and the three equations of its points that are left.

    sum z G + z_r H = D + c C for the sketch, the same for the slack, and
    sum z^2 B + z_t H = T0 + c T1 + c^2 T B.
    """

    commitment: bytes
    proof: Proof
    challenge: int
    excess: int  # sum z^2 - c^2 T

    @classmethod
    def of(cls, claim: ProofShown) -> "_Equations":
        statement, proof = claim.statement, Proof.decode_untrusted(claim.proof)
        combined = combined_of(proof.combined)
        rows = statement.rows(proof.slack)
        gammas = statement.gammas(proof.slack, proof.combined)
        challenge = statement.challenge(proof.slack, proof.combined, proof.announced)
        weights = (*column_sums(rows, gammas), *gammas)
        shown = sum(map(int.__mul__, weights, proof.responses))
        said = proof.offset + challenge * sum(map(int.__mul__, gammas, combined))
        if (shown - said) % GROUP_ORDER:
            raise InvalidProof("the combinations are not those of what is committed to")
        squares = sum(number * number for number in proof.responses[:SHORT_ENTRIES])
        excess = (squares - challenge * challenge * statement.bound) % GROUP_ORDER
        return cls(statement.commitment, proof, challenge, excess)


def _holds(proven: list[_Equations], weights: _Weights, sum_sketch: Sequence[int]) -> bool:
    try:
        return _is_neutral([(it, weights.three()) for it in proven], sum_sketch)
    except InvalidPoint:
        return False


def _those_that_fail(proven: dict[int, _Equations], weights: _Weights) -> list[int]:
    """Find the places of the proofs that fail, by halving."""
    if not proven:
        return []
    try:
        if _is_neutral([(it, weights.three()) for it in proven.values()]):
            return []
    except InvalidPoint:
        pass
    if len(proven) == 1:
        return list(proven)
    places = list(proven)
    halves = (places[: len(places) // 2], places[len(places) // 2 :])
    return [
        place
        for half in halves
        for place in _those_that_fail({at: proven[at] for at in half}, weights)
    ]


def _is_neutral(
    weighted: list[tuple[_Equations, list[int]]], sum_sketch: Sequence[int] | None = None
) -> bool:
    """Tell whether the weighted equations, and that of the sum with weight 1, hold together."""
    of_entries = [0] * (SKETCH_ENTRIES + SLACK_ENTRIES)
    of_blinding = of_base = 0
    numbers: list[int] = []
    points: list[bytes] = []
    for equations, (first, second, third) in weighted:
        proof, challenge = equations.proof, equations.challenge
        for place, response in enumerate(proof.responses[:SKETCH_ENTRIES]):
            of_entries[place] += first * response
        for place, response in enumerate(proof.responses[SKETCH_ENTRIES:], SKETCH_ENTRIES):
            of_entries[place] += second * response
        for weight, blinding in zip((first, second, third), proof.blindings, strict=True):
            of_blinding += weight * blinding
        of_base += third * equations.excess
        numbers += (-first, -first * challenge, -second, -second * challenge)
        points += (proof.openings[0], equations.commitment, proof.openings[1], proof.slack)
        numbers += (-third, -third * challenge)
        points += proof.products
    if sum_sketch is not None:
        for place, entry in enumerate(sum_sketch):
            of_entries[place] += int(entry)
    total = combine(
        (*of_entries, of_blinding, *numbers),
        (*sketch_generators(), *slack_generators(), blinding_generator(), *points),
    )
    total = add(total, multiply_base(of_base))
    if sum_sketch is not None:
        total = subtract(total, add_all(equations.commitment for equations, _ in weighted))
    return total == IDENTITY
