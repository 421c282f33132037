"""Plans: the noise for an epsilon, the epsilon of a noise, the rounds that both allow."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from p2pfl.privacy.accounting import (
    ENGINE_EPSILON_MAX,
    account,
    integer_distance,
    require_reserve,
)
from p2pfl.privacy.claims import Claim, Kin, claims_of, kin_of
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import UNITS_PER_NOISE, Mechanism, Trust, Unit
from p2pfl.privacy.presence import least_present, liars_max, refused_share
from p2pfl.privacy.releases import RATE_UNITS, RELEASES_MAX, Releases
from p2pfl.privacy.renyi import Floats, divergences, epsilon_of

DELTA = 1e-5
"""What is taken where none is named, and rows allow it."""

ROWS_PER_DELTA = 10
"""delta is at most 1 / (10 rows): a delta of 1 / rows would allow one row to be told whole."""
NOISE_MIN, NOISE_MAX = 0.3, 1000.0
ENTRIES_UNKNOWN = 10_000_000  # Counted for what integers differ, where no model is named.
_CLOSE = 1e-3  # A plan's epsilon is at most so much below the one that was asked for.
_TRIES = 12
_PLANS_KEPT = 64  # A study asks the same for each of its seeds, and an answer takes seconds.


@dataclass(frozen=True)
class Question:
    """What a plan is asked. Two of `epsilon`, `noise` and `rounds` are given; the third is found.

    Attributes:
        members: n.
        rows: units of all members together; for `Unit.MEMBER` not used.
        rate: p, of each lot.
        rounds: T, spares and lost rounds included.
        epsilon: what may be claimed.
        noise: z.
        delta: of epsilon; None for what `default_delta` says.
        drops: each member's chance of being away from a round.
        least: members that must be in a sum; None for what `least_present` finds.
        colluding: c; None for all that may lie.
        entries: parameters of the model, if it is known.
        unit: what is protected.
        trust: whose noise counts.
        steps: local steps a round, where nobody is trusted.
    """

    members: int
    rows: int | None = None
    rate: Fraction = Fraction(1)
    rounds: int | None = None
    epsilon: float | None = None
    noise: float | None = None
    delta: float | None = None
    drops: float = 0.0
    least: int | None = None
    colluding: int | None = None
    entries: int | None = None
    unit: Unit = Unit.RECORD
    trust: Trust = Trust.COALITION
    steps: int = 1


@dataclass(frozen=True)
class Plan:
    """An answer, checked by both accountants.

    Attributes:
        question: what was asked.
        mechanism: with its noise.
        rounds: T.
        epsilon: of the claim.
        renyi_epsilon: by the other accountant; at least as large.
        refused: share of rounds in which too few members are there.
        claims: one for each adversary.
        kin: of the claim.
        noise_to_signal: rho: noise over the longest signal that a lot can have; None without a
            model.
        advice: what would bring rho to 1, if it is above.
    """

    question: Question
    mechanism: Mechanism
    rounds: int
    epsilon: float
    renyi_epsilon: float
    refused: float
    claims: tuple[Claim, ...]
    kin: Kin
    noise_to_signal: float | None
    advice: tuple[str, ...]


@lru_cache(maxsize=_PLANS_KEPT)
def make_plan(question: Question) -> Plan:
    """Answer a question.

    Raises:
        PrivacyError: a figure is out of range, or no plan fits; the message names the remedy.
        EngineMissing: the extra is not installed.
    """
    if question.delta is None:
        question = replace(question, delta=default_delta(question.rows))
    _require_question(question)
    assert question.delta is not None
    noise = question.noise
    if noise is None:
        assert question.rounds is not None
        assert question.epsilon is not None
        noise = _noise_for(question, question.rounds, question.epsilon)
    mechanism = _mechanism(question, math.ceil(noise * UNITS_PER_NOISE))
    rounds = question.rounds
    if rounds is None:
        assert question.epsilon is not None
        rounds = _rounds_for(mechanism, question.epsilon, question.delta)
    paid = account([mechanism.releases(rounds)], question.delta)
    if question.epsilon is not None and paid.epsilon > question.epsilon:
        raise PrivacyError(
            f"{rounds:,} rounds cost an epsilon of {paid.epsilon:.3g}, more than"
            f" {question.epsilon:.3g}"
        )
    entries = question.entries or ENTRIES_UNKNOWN
    distance = integer_distance(
        entries=entries,
        releases=rounds * question.steps,
        variance=mechanism.shares * mechanism.width.variance,
        draws=question.members,
    )
    require_reserve(distance, paid.epsilon, question.delta)
    if question.entries is not None:
        mechanism.encoding(question.entries, 1.0)
    rho = _noise_to_signal(question, mechanism)
    return Plan(
        question=question,
        mechanism=mechanism,
        rounds=rounds,
        epsilon=paid.epsilon,
        renyi_epsilon=paid.renyi_epsilon,
        refused=refused_share(question.members, mechanism.least, question.drops),
        claims=tuple(claims_of(mechanism, rounds, question.delta)),
        kin=kin_of(mechanism, rounds, question.delta, paid.epsilon),
        noise_to_signal=rho,
        advice=tuple(_advice(question, rho)),
    )


def default_delta(rows: int | None) -> float:
    """Return 1e-5, or what so many rows allow if that is less, rounded down to one digit."""
    if rows is None or DELTA * ROWS_PER_DELTA * rows <= 1:
        return DELTA
    most = 1 / (ROWS_PER_DELTA * rows)
    digit: float = 10.0 ** math.floor(math.log10(most))
    return math.floor(most / digit * (1 + 1e-12)) * digit


def rate_units_of(rate: Fraction) -> int:
    """Return a rate as a multiple of 2^-32, rounded up: no lot is smaller than was counted.

    Raises:
        PrivacyError: it is not above 0 and at most 1.
    """
    if not 0 < rate <= 1:
        raise PrivacyError(f"a rate is above 0 and at most 1, not {rate}")
    return -(-rate.numerator * RATE_UNITS // rate.denominator)


def _require_question(question: Question) -> None:
    given = [question.epsilon, question.noise, question.rounds]
    if sum(figure is not None for figure in given) != 2:
        raise PrivacyError("give two of epsilon, noise and rounds: the third is worked out")
    if question.delta is None or not 0 < question.delta < 1:
        raise PrivacyError(f"delta is above 0 and below 1, not {question.delta}")
    if question.unit is Unit.RECORD:
        if question.rows is None:
            raise PrivacyError("how many rows do all members have together? give rows")
        if question.rows < question.members:
            raise PrivacyError(
                f"{question.rows} rows of {question.members} members: some have none"
            )
        if question.delta * ROWS_PER_DELTA * question.rows > 1:
            raise PrivacyError(
                f"a delta of {question.delta:g} is too large for {question.rows:,} rows: it is at"
                f" most one in ten times the rows, {1 / (ROWS_PER_DELTA * question.rows):.1g}"
            )
    if question.epsilon is not None and not 0 < question.epsilon <= ENGINE_EPSILON_MAX:
        raise PrivacyError(
            f"epsilon is above 0 and at most {ENGINE_EPSILON_MAX:g}, not {question.epsilon:g};"
            " above, it promises nearly nothing"
        )
    if question.noise is not None and not NOISE_MIN <= question.noise <= NOISE_MAX:
        raise PrivacyError(f"noise is {NOISE_MIN:g} to {NOISE_MAX:g} clips, not {question.noise:g}")
    if question.rounds is not None and not 1 <= question.rounds <= RELEASES_MAX:
        raise PrivacyError(f"rounds are 1 to {RELEASES_MAX:,}, not {question.rounds:,}")
    if question.entries is not None and question.entries < 1:
        raise PrivacyError(f"a model has parameters, not {question.entries}")


def _mechanism(question: Question, noise_units: int) -> Mechanism:
    found = least_present(question.members, question.drops)  # Looks at both, whoever names `least`.
    least, colluding = question.least, question.colluding
    return Mechanism(
        unit=question.unit,
        trust=question.trust,
        members=question.members,
        colluding=liars_max(question.members) if colluding is None else colluding,
        least=found if least is None else least,
        rate_units=rate_units_of(question.rate),
        noise_units=noise_units,
        steps=question.steps,
    )


def _noise_for(question: Question, rounds: int, epsilon: float) -> float:
    """Return the least noise, to a thousandth of epsilon: a root in the logarithms of both."""
    rate_units = _mechanism(question, UNITS_PER_NOISE).rate_units
    count, delta = rounds * question.steps, question.delta
    assert delta is not None

    def renyi(noise: float) -> float:
        return epsilon_of(divergences([Releases(rate_units, noise, count)]), delta)

    def exact(noise: float) -> float:
        return account([Releases(rate_units, noise, count)], delta).epsilon

    if renyi(NOISE_MAX) > epsilon:
        raise PrivacyError(
            f"no noise up to {NOISE_MAX:g} clips gives an epsilon of {epsilon:g} in {rounds:,}"
            " rounds; take fewer rounds, or a larger epsilon"
        )
    # More noise than needed, as Renyi divergences are the looser.
    high = _bisected(lambda noise: renyi(noise) <= epsilon, NOISE_MIN, NOISE_MAX)
    if high <= NOISE_MIN * (1 + _CLOSE):
        return NOISE_MIN
    # Below, only Renyi divergences count, and epsilon jumps up to them.
    floor = _bisected(lambda noise: renyi(noise) <= ENGINE_EPSILON_MAX, NOISE_MIN, NOISE_MAX)
    above, low = exact(high), max(high / 1.15, floor)
    below = exact(low)
    for _ in range(_TRIES):
        if epsilon * (1 - _CLOSE) <= above <= epsilon or high == low:
            break
        slope = math.log(above / below) / math.log(high / low)
        guess = high * (epsilon * (1 - _CLOSE / 3) / above) ** (1 / slope)
        low, below = high, above
        high = min(max(guess, floor), NOISE_MAX)
        above = exact(high)
    while above > epsilon:  # Where the engine begins, epsilon jumps: no noise gives just this one.
        high *= 1 + _CLOSE
        above = exact(high)
    # Written as a multiple of 2^-20, rounded up, and with six digits for people.
    return math.ceil(high * 1e6) / 1e6


def _bisected(is_enough: Callable[[float], bool], low: float, high: float) -> float:
    """Return a number between that is enough, at most a thousandth above the least."""
    while high > low * (1 + _CLOSE):
        middle = math.sqrt(low * high)
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return high


def _rounds_for(mechanism: Mechanism, epsilon: float, delta: float) -> int:
    """Return the most rounds that epsilon pays for."""

    def costs(rounds: int) -> float:
        return account([mechanism.releases(rounds)], delta).epsilon

    limit = RELEASES_MAX // mechanism.steps
    if costs(1) > epsilon:
        raise PrivacyError(
            f"with noise of {mechanism.noise:.3g} a single round costs an epsilon of"
            f" {costs(1):.3g}, more than {epsilon:g}; take more noise, or a smaller rate"
        )
    one = divergences([mechanism.releases(1)])
    enough, most = 1, limit + 1
    guess = min(limit, max(1, int(_bisected_down(one, epsilon, delta, limit))))
    while most - enough > 1:
        cost = costs(guess)
        if cost <= epsilon:
            enough = guess
        else:
            most = guess
        # Epsilon goes about as the root of rounds; so the next guess is near.
        nearer = round(guess * (epsilon / cost) ** 1.8)
        guess = min(max(nearer, enough + 1), most - 1)
    return enough


def _bisected_down(one: Floats, epsilon: float, delta: float, limit: int) -> int:
    """Return the most rounds by Renyi divergences: fewer than the engine allows, but near."""
    enough, most = 0, limit + 1
    while most - enough > 1:
        middle = (enough + most) // 2
        if epsilon_of(middle * one, delta) <= epsilon:
            enough = middle
        else:
            most = middle
    return enough


def _noise_to_signal(question: Question, mechanism: Mechanism) -> float | None:
    """Return rho = z sqrt(u / h) sqrt(d) / (p rows): all shares' noise over a lot's longest sum."""
    if question.entries is None:
        return None
    if question.trust is Trust.NOBODY:
        assert question.rows is not None
        lot = mechanism.releases(1).rate * question.rows / question.members
        return mechanism.noise * math.sqrt(question.entries / question.members) / lot
    signal = float(question.members)
    if question.unit is Unit.RECORD:
        assert question.rows is not None
        signal = mechanism.releases(1).rate * question.rows
    noise = mechanism.noise * math.sqrt(question.members / mechanism.shares)
    return noise * math.sqrt(question.entries) / signal


def _advice(question: Question, rho: float | None) -> list[str]:
    """Say what would bring rho to 1, each by itself."""
    if rho is None or rho <= 1 or question.unit is Unit.MEMBER:
        return []
    assert question.rows is not None
    assert question.entries is not None
    rows = math.ceil(question.rows * rho)
    entries = max(1, math.floor(question.entries / rho**2))
    return [
        f"{rows:,} rows in place of {question.rows:,}",
        f"{entries:,} parameters in place of {question.entries:,}",
    ]


def points_lost(rho: float) -> str:
    """Say what was lost at such noise, in points of accuracy: three data sets, a rule of thumb."""
    if rho <= 0.7:
        return "at most 1"
    if rho <= 1.5:
        return "0 to 3"
    if rho <= 2.5:
        return "1 to 5"
    return "1 to 14" if rho <= 10 else "6 to 54"
