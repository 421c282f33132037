"""Differencing: who is in a sum changes, and what a member gives comes out by comparing sums.

A leader that lies chooses who is away. Each member gives the same in all rounds, up to thirty clips
an entry, which the attacker does not know; so one sum says little of the victim. Many sums give an
equation for each, and least squares solve them. Without noise that finds all that the victim has.

Each entry of the vectors is an attack of its own: the victim has a row there, of the whole clip,
or has not. All rows are in all lots, so that sums differ by noise and by who is there alone. The
attacker is a member as well: it knows what it gave, and takes its own noise away.

The tests run a few entries, benchmarks/private_differencing.py enough for narrow bounds.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from group_driver import GroupDriver, make_epoch

from p2pfl.privacy.releases import RATE_UNITS, Releases
from p2pfl_crypto.discrete_gaussian import draw_noise, width_for
from p2pfl_crypto.private_encoding import add_noise, sensitivity_for
from p2pfl_crypto.private_streams import NOISE, private_stream
from p2pfl_gossip.masked_sum.group_sum import Sums

MEMBERS, LEAST, COLLUDER, VICTIM = 5, 4, 0, 2
SHARES = LEAST - 1
SPENT = 8
"""Rounds that the victim is in: what its budget pays for."""
OTHERS_MOST = 30
CLAIM, DELTA, NOISE_UNITS = 2.0, 1e-5, round(5.65 * 2**20)

Attack = Callable[[int], tuple[int, ...]]
"""Who is away, by round."""


def every_other(round_: int) -> tuple[int, ...]:
    """The victim is away in every other round."""
    return (VICTIM,) if round_ % 2 else ()


def in_turn(round_: int) -> tuple[int, ...]:
    """One of the others after the other."""
    return (1 + round_ % (MEMBERS - 1),)


Floats = npt.NDArray[np.float64]


def releases() -> Releases:
    """What the claim is of."""
    return Releases(RATE_UNITS, NOISE_UNITS / 2**20, SPENT)


def attack(away: Attack, runs: int, seed: int, *, with_noise: bool = True) -> tuple[Floats, Floats]:
    """Run rounds until the victim has spent its budget; solve for what it gave.

    Args:
        away: who is, by round.
        runs: entries with the row, and as many without.
        seed: of everything.
        with_noise: whether there is any.

    Returns:
        float64[runs] each: scores of entries without the row, and of entries with it.
    """
    generator = np.random.default_rng(seed)
    width, size = width_for(MEMBERS), 2 * runs
    sensitivity = sensitivity_for(width, SHARES, NOISE_UNITS)
    given = generator.integers(-OTHERS_MOST, OTHERS_MOST + 1, (MEMBERS, size)) * sensitivity
    given[VICTIM] = np.repeat([0, sensitivity], runs)
    quanta = given.astype(np.int32)
    presence: list[npt.NDArray[np.float64]] = []
    sums: list[Floats] = []
    while sum(row[VICTIM] for row in presence) < SPENT:
        round_ = len(sums)
        absent, vectors, own = away(round_), [], np.zeros(size, np.int32)
        for member in range(MEMBERS):
            noise = np.zeros(size, np.int32)
            if with_noise:
                stream = private_stream(generator.bytes(32), NOISE)
                noise = draw_noise(stream, width, size)
            if member == COLLUDER:
                own = noise + quanta[member]
            vectors.append(add_noise(quanta[member], noise))
        cohort, people = make_epoch(
            MEMBERS, size, round=round_, takes_words=True, least=LEAST, weights=(1.0,) * MEMBERS
        )
        driver = GroupDriver(cohort, people, round_, vectors=vectors).run(absent=absent)
        outcome = next(iter(driver.summed().values()))
        assert isinstance(outcome, Sums)
        there = np.array([float(member in outcome.members) for member in range(MEMBERS)])
        assert not there[list(absent)].any()
        total = np.concatenate([chunk.body for chunk in outcome.chunks if chunk is not None])
        sums.append(total.view(np.int32).astype(np.float64) - own)
        presence.append(there)
    others = [member for member in range(MEMBERS) if member != COLLUDER]
    solved = np.linalg.lstsq(np.array(presence)[:, others], np.array(sums), rcond=None)[0]
    scores = solved[others.index(VICTIM)] / sensitivity
    return scores[:runs], scores[runs:]
