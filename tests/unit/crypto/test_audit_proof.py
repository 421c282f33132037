"""The proof that a sketch is short: what passes, and each way to cheat that is known."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from p2pfl_crypto.audit import checking, commitments, curve, shortness, transcript
from p2pfl_crypto.audit.checking import ProofShown, check_all, check_one
from p2pfl_crypto.audit.commitments import commit_to_sketch, sketch_generators
from p2pfl_crypto.audit.curve import (
    IDENTITY,
    InvalidPoint,
    add,
    combine,
    multiply,
    require_point,
    subtract,
)
from p2pfl_crypto.audit.shortness import (
    COMBINED_BYTES,
    COMBINED_MAX,
    PROOF_BYTES,
    InvalidProof,
    Proof,
    SketchTooLong,
    prove,
    prove_opening,
)
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES
from p2pfl_crypto.audit.squares import four_squares
from p2pfl_crypto.audit.transcript import Statement, column_sums, numbers_of, rows_of
from p2pfl_crypto.shamir import GROUP_ORDER

BOUND = 2**58
BLINDINGS = (5**60, 7**70, -(5**60) - 7**70)
ENTROPY = b"e" * 32
LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
"""A point of order 8."""


def context(place: int) -> bytes:
    return bytes([place]) * 32


def sketch(place: int, norm: float = 2.0**28) -> list[int]:
    rng = np.random.default_rng(place)
    return [int(entry) for entry in rng.normal(0, norm / SKETCH_ENTRIES**0.5, SKETCH_ENTRIES)]


@pytest.fixture(scope="module")
def claims() -> list[ProofShown]:
    """Of three members whose blindings add up to nothing."""
    made = []
    for place, blinding in enumerate(BLINDINGS):
        commitment, proof = prove(context(place), BOUND, sketch(place), blinding, ENTROPY)
        made.append(ProofShown(Statement(context(place), BOUND, commitment), proof))
    return made


SUM = [sum(entries) for entries in zip(*(sketch(place) for place in range(3)), strict=True)]


def test_true_proofs_pass_alone_and_together(claims: list[ProofShown]) -> None:
    for claim in claims:
        assert len(claim.proof) == PROOF_BYTES
        check_one(claim)
    assert check_all(claims, SUM, b"v" * 32).holds


def test_a_total_that_differs_by_one_does_not_open(claims: list[ProofShown]) -> None:
    verdict = check_all(claims, [SUM[0] + 1, *SUM[1:]], b"v" * 32)
    assert (verdict.invalid, verdict.opens, verdict.holds) == ((), False, False)


def test_one_false_proof_among_true_ones_is_found(claims: list[ProofShown]) -> None:
    given = [claims[0], ProofShown(claims[1].statement, claims[0].proof), claims[2]]
    assert check_all(given, SUM, b"v" * 32).invalid == (1,)


def test_a_false_point_among_true_proofs_is_found(claims: list[ProofShown]) -> None:
    """Its numbers hold: only the points' equations show it."""
    proof = Proof.decode_untrusted(claims[2].proof)
    false = replace(proof, blindings=(proof.blindings[0] + 1, *proof.blindings[1:]))
    given = [*claims[:2], ProofShown(claims[2].statement, false.encode())]
    verdict = check_all(given, SUM, b"v" * 32)
    assert (verdict.invalid, verdict.opens) == ((2,), True)


def test_an_empty_round_has_an_empty_sum() -> None:
    assert check_all([], [0] * SKETCH_ENTRIES, b"v" * 32).holds
    assert not check_all([], SUM, b"v" * 32).holds


def test_too_long_a_sketch_is_not_proved() -> None:
    with pytest.raises(SketchTooLong):
        prove(context(0), BOUND, sketch(0, 2.0**30), 1, ENTROPY)


def test_the_bound_itself_passes_and_one_more_does_not() -> None:
    longest = [2**29, *[0] * (SKETCH_ENTRIES - 1)]
    commitment, proof = prove(context(0), BOUND, longest, 3, ENTROPY)
    check_one(ProofShown(Statement(context(0), BOUND, commitment), proof))
    with pytest.raises(SketchTooLong):
        prove(context(0), BOUND, [2**29, 1, *[0] * (SKETCH_ENTRIES - 2)], 3, ENTROPY)


# What a liar says instead


def squares_modulo_order(rest: int) -> tuple[int, int, int, int]:
    """Two numbers whose squares add up to `rest` modulo L, though not over the integers."""
    one = 1
    while pow(rest - one * one, (GROUP_ORDER - 1) // 2, GROUP_ORDER) != 1:
        one += 1
    square = (rest - one * one) % GROUP_ORDER
    root = pow(square, (GROUP_ORDER + 3) // 8, GROUP_ORDER)
    if root * root % GROUP_ORDER != square:
        root = root * pow(2, (GROUP_ORDER - 1) // 4, GROUP_ORDER) % GROUP_ORDER
    assert (root * root + one * one - rest) % GROUP_ORDER == 0
    return root, one, 0, 0


def hundredfold() -> ProofShown:
    """A sketch of a hundred times the bound's norm, with 'squares' that fit modulo L only."""
    long = [100 * entry for entry in sketch(0)]
    squares = squares_modulo_order(BOUND - sum(entry * entry for entry in long))
    commitment, proof = prove_opening(context(0), BOUND, long, squares, 5, ENTROPY)
    return ProofShown(Statement(context(0), BOUND, commitment), proof.encode())


def test_squares_modulo_the_order_are_refused() -> None:
    with pytest.raises(InvalidProof, match="combination"):
        check_one(hundredfold())


def test_without_shortness_they_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with rows of zeros nothing is shown to be short, and 100 times passes."""
    rows = np.zeros((commitments.ROWS, transcript.SHORT_ENTRIES), np.int8)
    monkeypatch.setattr(transcript, "rows_of", lambda _seed: rows)
    check_one(hundredfold())


@pytest.mark.parametrize("factor", [1.5, 100])
def test_a_plain_lie_about_the_squares_is_refused(factor: float) -> None:
    long = [int(factor * 2 * entry) for entry in sketch(0)]
    commitment, proof = prove_opening(context(0), BOUND, long, (1, 2, 3, 4), 5, ENTROPY)
    with pytest.raises(InvalidProof):
        check_one(ProofShown(Statement(context(0), BOUND, commitment), proof.encode()))


def test_an_excess_does_not_hide_in_the_other_commitment(monkeypatch: pytest.MonkeyPatch) -> None:
    """C holds a sketch 100 times too long, and Y what is too much of it, with the other sign.

    One equation for C + Y holds then, and the sum of all C opens: so each is opened by itself.
    """
    excess = combine([99 * entry for entry in sketch(0)], sketch_generators())
    own, made = commitments.commit, iter([lambda point: subtract(point, excess), None, None])

    def shifted(*what: Any) -> bytes:
        change = next(made)
        return change(own(*what)) if change else own(*what)

    monkeypatch.setattr(shortness, "commit", shifted)
    monkeypatch.setattr(shortness, "commit_to_sketch", lambda *a: add(commit_to_sketch(*a), excess))
    commitment, proof = prove(context(0), BOUND, sketch(0), 5, ENTROPY)
    assert commitment == commit_to_sketch([100 * entry for entry in sketch(0)], 5)
    claim = ProofShown(Statement(context(0), BOUND, commitment), proof)
    joined = [(checking._Equations.of(claim), [1, 1, 0])]
    assert checking._is_neutral(joined), "the control: one equation for both does not see it"
    with pytest.raises(InvalidProof, match="sketch's opening"):
        check_one(claim)
    assert check_all([claim], [100 * entry for entry in sketch(0)], b"v" * 32).invalid == (0,)


@pytest.mark.parametrize(
    "altered",
    [
        {"context": context(9)},
        {"bound": BOUND + 1},
        {"bound": BOUND * 2**64},
        {"commitment": commit_to_sketch(sketch(0), 6)},
        {"commitment": IDENTITY},
    ],
)
def test_a_proof_serves_its_own_statement_only(
    claims: list[ProofShown], altered: dict[str, Any]
) -> None:
    with pytest.raises(InvalidProof):
        check_one(ProofShown(replace(claims[0].statement, **altered), claims[0].proof))


def test_a_copied_commitment_with_its_proof_is_refused(claims: list[ProofShown]) -> None:
    copied = replace(claims[0].statement, context=context(1))
    with pytest.raises(InvalidProof):
        check_one(ProofShown(copied, claims[0].proof))


FIELDS: dict[str, tuple[int, int]] = {
    "slack": (0, 32),
    "opening of the sketch": (32, 32),
    "opening of the slack": (64, 32),
    "constant": (96, 32),
    "linear": (128, 32),
    "first combination": (160, 15),
    "last combination": (160 + 45 * 15, 15),
    "offset": (850, 32),
    "first response": (882, 32),
    "last of the sketch": (882 + 255 * 32, 32),
    "first square": (882 + 256 * 32, 32),
    "last row": (882 + 305 * 32, 32),
    "blinding of the sketch": (PROOF_BYTES - 96, 32),
    "blinding of the slack": (PROOF_BYTES - 64, 32),
    "blinding of the products": (PROOF_BYTES - 32, 32),
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_proof_can_be_another(claims: list[ProofShown], field: str) -> None:
    start, size = FIELDS[field]
    other = bytearray(claims[0].proof)
    if size == 32 and start < 160:
        other[start : start + 32] = add(bytes(other[start : start + 32]), sketch_generators()[0])
    else:
        other[start] ^= 1
    with pytest.raises(InvalidProof):
        check_one(ProofShown(claims[0].statement, bytes(other)))


def test_combinations_have_a_bound() -> None:
    for number, is_short in ((COMBINED_MAX - 1, True), (COMBINED_MAX, False), (-COMBINED_MAX, 0)):
        encoded = number.to_bytes(COMBINED_BYTES, "little", signed=True)
        if is_short:
            assert shortness.combined_of(encoded) == [number]
        else:
            with pytest.raises(InvalidProof, match="too long"):
                shortness.combined_of(encoded)


def test_what_the_bounds_promise_fits_below_the_order() -> None:
    """Sixty times what twice a combination's bound allows has squares that do not wrap around L."""
    differences = range(1, 2 * int(transcript.ROW_MAX) + 1)
    assert math.lcm(*differences) == 60
    assert transcript.SHORT_ENTRIES * (60 * 2 * COMBINED_MAX) ** 2 < GROUP_ORDER // 8
    honest = 3 * math.isqrt(260) * 2**34  # |(p, a)|^2 is T, and that is below 12.8 * 2^62.
    assert 2**shortness.HIDING_BITS + honest < COMBINED_MAX < 2 ** (8 * COMBINED_BYTES - 1)


@pytest.mark.parametrize("size", [0, PROOF_BYTES - 1, PROOF_BYTES + 1])
def test_a_proof_has_one_length(claims: list[ProofShown], size: int) -> None:
    with pytest.raises(InvalidProof, match="bytes"):
        Proof.decode_untrusted((claims[0].proof * 2)[:size])


def test_a_number_that_is_not_reduced_is_refused(claims: list[ProofShown]) -> None:
    encoded = bytearray(claims[0].proof)
    last = int.from_bytes(encoded[-32:], "little") + GROUP_ORDER
    encoded[-32:] = last.to_bytes(32, "little")
    with pytest.raises(InvalidProof, match="reduced"):
        check_one(ProofShown(claims[0].statement, bytes(encoded)))
    assert Proof.decode_untrusted(claims[0].proof).encode() == claims[0].proof


def test_points_of_another_order_are_refused(claims: list[ProofShown]) -> None:
    """One of order 8 added to what is received would hide from equations in seven of eight."""
    own = sketch_generators()[0]
    for point in (LOW_ORDER, add(own, LOW_ORDER), IDENTITY, bytes(32), b"\xff" * 32, own[:31]):
        with pytest.raises(InvalidPoint):
            require_point(point)
        for number in (0, 1, 8):
            with pytest.raises(InvalidPoint):
                multiply(number, point)
    require_point(own)
    statement = claims[0].statement
    mixed = replace(statement, commitment=add(statement.commitment, LOW_ORDER))
    with pytest.raises(InvalidProof):
        check_one(ProofShown(mixed, claims[0].proof))


def test_a_commitment_off_the_curve_is_found_among_true_ones(claims: list[ProofShown]) -> None:
    off = replace(claims[1].statement, commitment=b"\xff" * 32)
    verdict = check_all([claims[0], ProofShown(off, claims[1].proof), claims[2]], SUM, b"v" * 32)
    assert (verdict.invalid, verdict.opens) == ((1,), False)


def test_commitments_hide_and_known_blindings_do_not() -> None:
    """With the blinding known, whoever guesses the sketch sees it: the blinding carries it all."""
    assert commit_to_sketch(sketch(0), 5) != commit_to_sketch(sketch(0), 6)
    guess = subtract(commit_to_sketch(sketch(0), 5), commit_to_sketch([0] * SKETCH_ENTRIES, 5))
    assert guess == commit_to_sketch(sketch(0), 0)


def test_equal_entropy_in_two_contexts_opens_nothing(claims: list[ProofShown]) -> None:
    """The masks of z differ, so that no two proofs can be solved for the sketch."""
    _, other = prove(context(8), BOUND, sketch(0), BLINDINGS[0], ENTROPY)
    one, two = Proof.decode_untrusted(claims[0].proof), Proof.decode_untrusted(other)
    assert one.openings != two.openings
    with pytest.raises(ValueError, match="32 bytes of entropy"):
        prove(context(8), BOUND, sketch(0), 1, b"short")


def test_column_sums_are_those_of_plain_integers() -> None:
    rows, gammas = rows_of(bytes(32)), numbers_of(b"g", commitments.ROWS)
    extremes = [0, GROUP_ORDER - 1, *gammas[2:]]
    plain = [
        sum(int(sign) * gamma for sign, gamma in zip(column, extremes, strict=True)) % GROUP_ORDER
        for column in rows.T
    ]
    assert column_sums(rows, extremes) == plain


def test_rows_have_the_shares_that_the_argument_needs() -> None:
    """Each of seven values comes in one of seven, and none in more than 37 of 256."""
    values, counts = np.unique(rows_of(bytes(32)), return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert np.allclose(counts / counts.sum(), 1 / 7, atol=0.01)
    likeliest = max(np.bincount(np.arange(256) % int(transcript.ROW_VALUES)))
    assert (likeliest / 256) ** commitments.ROWS < 2.0**-128


@pytest.mark.parametrize("norm", [1, 100])
def test_a_sketch_of_halves_is_no_longer_than_it_may_be(
    norm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that take all entries twice are blind to halves; still their squares must not wrap."""
    own = transcript.rows_of
    monkeypatch.setattr(transcript, "rows_of", lambda seed: own(seed) // np.int8(2) * np.int8(2))
    double = [2 * entry + 1 for entry in sketch(0)]  # Squares of 256 odd numbers: 0 modulo 4.
    halves = [norm * entry * pow(2, -1, GROUP_ORDER) % GROUP_ORDER for entry in double]
    rest = BOUND - norm * norm * sum(entry * entry for entry in double) // 4
    squares = four_squares(rest, Random(1).randrange) if rest > 0 else squares_modulo_order(rest)
    commitment, proof = prove_opening(context(0), BOUND, halves, squares, 5, ENTROPY)
    claim = ProofShown(Statement(context(0), BOUND, commitment), proof.encode())
    if norm == 1:
        check_one(claim)
    else:
        with pytest.raises(InvalidProof, match="combination"):
            check_one(claim)


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "audit.json").read_text())


def test_generators_and_proofs_have_these_bytes(claims: list[ProofShown]) -> None:
    made = [commitments.blinding_generator(), *sketch_generators(), *commitments.slack_generators()]
    assert len(set(made)) == len(made) == 307
    assert hashlib.sha256(b"".join(made)).hexdigest() == VECTORS["generators_sha256"]
    for claim, vector in zip(claims, VECTORS["proofs"], strict=True):
        assert claim.statement.commitment.hex() == vector["commitment"]
        assert hashlib.sha256(claim.proof).hexdigest() == vector["proof_sha256"]
    for point in made[:3]:
        curve.require_point(point)
