"""Who learns how much: one line for each adversary, with all that a figure of epsilon needs."""

import math
from dataclasses import dataclass

from p2pfl.privacy.accounting import ENGINE_EPSILON_MAX, account
from p2pfl.privacy.loss_distributions import lose, lose_in_several
from p2pfl.privacy.mechanisms import Mechanism, Trust, Unit

FALSE_ALARMS = 0.01
_SEVERAL_INTERVAL = 0.02  # Coarse, since a mixture takes seconds; losses are rounded up.


@dataclass(frozen=True, slots=True)
class Claim:
    """What one adversary can learn of one unit.

    Attributes:
        adversary: who.
        is_the_claim: whether the charter is planned for it.
        shares: members whose noise it cannot subtract; 0: it has the rows.
        epsilon: an upper bound; infinity where nothing is hidden.
        found: the largest share of units that it finds, if it may accuse `FALSE_ALARMS` of those
            that are not there.
    """

    adversary: str
    is_the_claim: bool
    shares: int
    epsilon: float
    found: float


def claims_of(mechanism: Mechanism, rounds: int, delta: float) -> list[Claim]:
    """Work out every line; the same releases look different to each adversary.

    Raises:
        PrivacyError: as `account` does.
    """
    if mechanism.trust is Trust.NOBODY:
        all_others = account([mechanism.releases(rounds)], delta)
        found = all_others.detection(FALSE_ALARMS)
        return [
            Claim("all others together", True, 1, all_others.epsilon, found),
            _OWN_SIDE,
        ]
    lines = [
        ("outsider with all models", mechanism.least),
        ("one curious member", mechanism.least - 1),
    ]
    if mechanism.colluding > 1:
        lines.append((f"{mechanism.colluding} colluding members", mechanism.shares))
    lines.append(("all others together", 1))
    claims = []
    for adversary, shares in lines:
        found_by = account([mechanism.releases(rounds, shares=shares)], delta)
        is_the_claim = shares == mechanism.shares
        found = found_by.detection(FALSE_ALARMS)
        claims.append(Claim(adversary, is_the_claim, shares, found_by.epsilon, found))
    return [*claims, _OWN_SIDE]


_OWN_SIDE = Claim("the member itself", False, 0, math.inf, 1.0)


@dataclass(frozen=True, slots=True)
class Kin:
    """The same mechanism for two near relations of the unit; None where none was worked out.

    Attributes:
        replaced: epsilon where a unit's rows are others, rather than there or not.
        with_two_rows: epsilon of somebody who is two units, in one member or in two.
    """

    replaced: float | None
    with_two_rows: float | None


def kin_of(mechanism: Mechanism, rounds: int, delta: float, epsilon: float) -> Kin:
    """Work out the relations of the claim's unit; nothing above what the engine is used for."""
    if 2 * epsilon > ENGINE_EPSILON_MAX:
        return Kin(None, None)
    releases = mechanism.releases(rounds)
    replaced = lose([releases], interval=1e-3, replacing=True).epsilon(delta)
    if mechanism.unit is Unit.MEMBER:
        return Kin(replaced, None)
    twice = lose_in_several(releases, 2, interval=_SEVERAL_INTERVAL).epsilon(delta)
    return Kin(replaced, twice)


def in_words(claim: Claim, unit: str) -> str:
    """Say a claim without a Greek letter."""
    share = math.ceil(1000 * claim.found - 1e-9)
    return (
        f"If {claim.adversary} may accuse 10 in 1,000 {unit}s that are not in the data, they find"
        f" at most {share} in 1,000 that are."
    )
