"""Robust rules in the simulator: done once for all that have the same models, and charged for."""

from typing import Any

import numpy as np

from p2pfl_gossip.averaging.robust.combining import Combine, perform
from p2pfl_gossip.averaging.robust.registry import RobustRule
from p2pfl_simulations.costs import protocol_job_s
from p2pfl_simulations.once import Once
from p2pfl_simulations.world_settings import MaskingCosts


def combine(round_: int = 0, *, last: float = 9.0, own: int | None = None) -> Combine:
    vectors = tuple(np.full(4, value, np.float32) for value in (1.0, 2.0, last))
    name = "median" if own is None else "self-centred-clipping"
    return Combine(RobustRule(name, 1), round_, vectors, own)


def test_equal_models_are_averaged_once_and_others_by_themselves() -> None:
    done: list[Any] = []

    def counted(job: Any) -> Any:
        done.append(job)
        return perform(job)

    once = Once(counted)
    for job in (combine(), combine(), combine(round_=1), combine(last=8.0)):
        found: Any = once(job)
        assert found.vector.tolist() == perform(job).vector.tolist()
    assert len(done) == 3
    for _ in range(2):  # The result is of one peer's own model.
        once(combine(own=0))
    assert len(done) == 5


def test_a_rule_takes_as_long_as_comparing_all_models_with_all() -> None:
    costs = MaskingCosts()
    few, many = (
        Combine(RobustRule("median", 1), 0, (np.zeros(100, np.float32),) * count)
        for count in (4, 8)
    )
    charged = [protocol_job_s(job, costs) for job in (few, many)]
    assert charged[0] is not None
    assert charged[1] is not None
    assert charged[0] > 0
    assert charged[1] == 4 * charged[0]
