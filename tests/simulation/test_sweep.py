"""Some seeds of the sweep, and a fault that it finds; more by `./scripts/bench sweep`."""

import importlib
import re
from collections import Counter
from dataclasses import replace

import pytest
import sweep_draw
import sweep_run
from sampled import sampled, without
from sweep_plants import PLANTS

from p2pfl_simulations.checkers.base import Stalled

SEEDS = range(114, 154)


@pytest.mark.parametrize("seed", sampled(SEEDS, every=4))
def test_what_must_hold_holds_and_every_honest_peer_finishes(seed: int) -> None:
    assert not sweep_run.run_seed(seed).violation


def test_the_draws_cover_what_may_go_wrong() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(1000):
        kinds += sweep_draw.draw(seed).kinds()
    liars = [kind for kind in kinds if kind.startswith("liar: ")]
    assert len({kind.split(" (")[0] for kind in liars}) == 16
    assert min(kinds[kind] for kind in liars) >= 2
    faults = [
        "churn",
        "crash",
        "crash_at_action",
        "dropout",
        "failed trainings",
        "loss",
        "partition",
        "stragglers",
    ]
    assert min(kinds[f"fault: {fault}"] for fault in faults) >= 50
    assert min(kinds[f"disk: {disk}"] for disk in ("none", "ssd", "slow", "drawn")) >= 50
    assert kinds["jobs end in any order"] >= 50
    assert kinds["fault: none"] >= 50
    assert kinds["averaging: cohorts, masks real"] >= 450


FOUND = {
    "vote-before-record": (0, "sends Vote before it has recorded what was voted for"),
    "spent-not-recorded": (0, "sends ChunkHeader before it has recorded that the vector is spent"),
    "session-begun-twice": (74, "peer 3 blames peer 2: two_adverts"),
    "trained-model-given": (0, "sends entries of the model that it trained in round 0"),
    "round-forgotten": (122, "goes from round 5 back to 0"),
    "one-sum-believed": (267, "ends? round 1 with (a mean|different complete means) of "),
    "two-sums-believed": (1487, "end round 1 with different complete means of "),
    "signatures-unchecked": (28, "peer 0 blames peer 0: two_lists"),
    "no-next-leader": (6, "have not finished: "),
    "reveal-sent-once": (68, "have not finished: "),
    "counted-twice": (74, "round 0 was ended by 6 of 5 peers"),
    "blamed-for-repeating": (6, "blames peer 1: two_ballots"),
    "voted-twice": (6, "sends Vote before it has recorded what was voted for"),
}
"""By plant: a seed that finds it, and what is found."""


def test_each_plant_has_a_seed_that_finds_it() -> None:
    assert FOUND.keys() == PLANTS.keys()


SLOW = ("reveal-sent-once",)
"""Minutes of virtual time, in which nothing comes of anything."""


@pytest.mark.parametrize("plant", without(SLOW, FOUND))
def test_a_planted_fault_is_found_for_what_it_is_and_its_replay_named(plant: str) -> None:
    seed, said = FOUND[plant]
    found = sweep_run.run_seed(seed, plant)
    assert re.search(said, found.violation)
    assert found.violation.endswith(
        f"replay: ./scripts/bench sweep --from {seed} --seeds 1 --plant {plant}"
    )
    assert not sweep_run.run_seed(seed).violation


def test_peers_that_cannot_finish_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = next(seed for seed in range(100) if sweep_draw.draw(seed).is_faulty)
    # Before anybody can have finished.
    swept = sweep_run.Sweep(replace(sweep_draw.draw(seed), heal_s=0.01))

    def end_all() -> None:
        for host in swept.world.hosts:
            swept.world.take_offline(host, "test", kills=True)

    monkeypatch.setattr(swept.simulation.faults, "heal", end_all)
    with pytest.raises(Stalled, match="have not finished: "):
        swept.run()


def test_what_is_planted_goes_when_the_seed_ends() -> None:
    before = {name: dict(vars(owner)) for name, owner in _owners().items()}
    for plant in PLANTS.values():
        with plant():
            pass
    assert before == {name: dict(vars(owner)) for name, owner in _owners().items()}


def _owners() -> dict[str, type]:
    module = importlib.import_module("sweep_plants")
    return {name: it for name, it in vars(module).items() if isinstance(it, type)}
