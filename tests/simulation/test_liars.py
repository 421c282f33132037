"""Peers that lie: they run the real machine, and honest ones come to the end all the same."""

from pathlib import Path
from typing import Any

import pytest

from p2pfl.learner.learner import make_learner
from p2pfl.plugins import PluginError
from p2pfl_simulations import ScenarioError, make_scenario, run
from p2pfl_simulations.checkers import all_checkers
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.group import founding_epoch
from p2pfl_simulations.liars.liar import LyingPeer
from p2pfl_simulations.liars.planting import Liars
from p2pfl_simulations.liars.poisoning import VectorLiar
from p2pfl_simulations.liars.registry import shipped_liars
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.simulation import Simulation

PEERS, LIAR = 6, 2
GROUP = {"algorithm": "group", "deadline_s": 0.5, "patience_s": 1.0, "clip": 65536.0, "retries": 99}


def document(liars: Any, **settings: Any) -> dict[str, Any]:
    return {
        "peers": PEERS,
        "rounds": 3,
        "time_limit_s": 100,
        "learning": {"task": "integers", "training": {"steps": 1}},
        "averaging": {
            "algorithm": "cohorts",
            "cohort_size": PEERS,
            "deadline_s": 0.5,
            "clip": 65536.0,
        },
        "evaluation": {"every": 3, "peers": 2, "baselines": []},
        "faults": {"liars": liars} if liars else {},
        **settings,
    }


def simulate(liars: Any, *, folder: Path | None = None, **settings: Any) -> RunResult:
    """Run with all checkers, and demand that all honest peers finish."""
    scenario = make_scenario(document(liars, **settings))
    learner = make_learner(scenario.learning, peer_count=PEERS, seed=1, folder=None)
    checkers = (*all_checkers(), AllFinish())
    simulation = Simulation(scenario, learner, lambda _: None, folder=folder, checkers=checkers)
    simulation.run()
    return simulation.result()


@pytest.fixture(scope="module")
def honest() -> RunResult:
    return simulate(None)


# Of updates and words one each; what the others put in is in test_poisoning.py.
MASKED = {
    name: liar
    for name, liar in shipped_liars().items()
    if not (issubclass(liar, VectorLiar) or liar.is_in_words or liar.algorithms or liar.in_audits)
    or name in ("ipm", "one-word")
}
COHORTS = [name for name, liar in MASKED.items() if not liar.in_groups]
GROUPS = [name for name, liar in MASKED.items() if liar.in_groups is not False]


@pytest.fixture(scope="module")
def honest_group() -> RunResult:
    return simulate(None, averaging=GROUP)


def first_leader() -> int:
    """Whoever leads the group's first round, so that a liar has all occasions."""
    scenario = make_scenario(document(None, averaging=GROUP))
    learner = make_learner(scenario.learning, peer_count=PEERS, seed=1, folder=None)
    founding = founding_epoch(scenario, learner.initial_vector(), learner.sample_count)
    return founding.leaders(1)[0]


@pytest.mark.parametrize("strategy", GROUPS)
def test_honest_members_finish_beside_a_liar(strategy: str, honest_group: RunResult) -> None:
    lied = simulate({"strategy": strategy, "peers": [first_leader()]}, averaging=GROUP)
    assert lied.digest != honest_group.digest, "the liar does nothing"
    assert all(row.ended == PEERS - 1 for row in lied.rounds)


@pytest.mark.parametrize(
    ("strategy", "where"), [("far-ahead", "in no group"), ("old-head", "in groups only")]
)
def test_a_strategy_that_finds_nothing_to_lie_about_is_refused(strategy: str, where: str) -> None:
    liars = {"strategy": strategy, "peers": [LIAR]}
    averaging = {"averaging": GROUP} if where == "in no group" else {}
    with pytest.raises(ScenarioError, match=where):
        Liars(make_scenario(document(liars, **averaging)))


@pytest.mark.parametrize("strategy", COHORTS)
def test_honest_peers_finish_beside_a_liar(strategy: str, honest: RunResult) -> None:
    lied = simulate({"strategy": strategy, "peers": [LIAR]})
    assert lied.digest != honest.digest, "the liar does nothing"
    assert [event.detail for event in lied.events if event.kind == "liar"] == [strategy]
    # Tables are of honest peers.
    assert max(row.ended for row in lied.rounds) == PEERS - 1
    assert all(row.ended + row.lost == PEERS - 1 for row in lied.rounds)


def test_a_liar_that_does_not_lie_yet_is_as_if_it_were_honest(honest: RunResult) -> None:
    # A run ends with its last honest peer: so the one that lies is not the last to finish.
    first = next(event.peer for event in honest.events if event.kind == "finished")
    silent = simulate({"strategy": "silence", "peers": [first], "from_round": 4})
    assert silent.digest == honest.digest


def test_liars_lie_alike_each_time() -> None:
    entry = {"strategy": "forged-fields", "share": 0.17, "arguments": {"probability": 0.5}}
    first, second = (run(make_scenario(document(entry))) for _ in range(2))
    assert first.digest == second.digest


def test_liars_are_drawn_by_share_beside_those_that_are_named() -> None:
    entries = [{"strategy": "slow", "share": 0.5}, {"strategy": "silence", "peers": [0, 1]}]
    liars = Liars(make_scenario(document(entries)))
    assert [liars.strategies[index] for index in (0, 1)] == ["silence", "silence"]
    assert list(liars.strategies.values()).count("slow") == 3


OWN = '''
from p2pfl_gossip.catch_up import Status
from p2pfl_simulations.liars import Liar

class Teller(Liar):
    """Tells its colluders how often it has been asked; greets everybody."""

    def __init__(self, greetings: int = 1) -> None:
        self._greetings = greetings

    def on_round(self, now_s):
        self.me.shared["rounds"] = self.me.shared.get("rounds", 0) + 1
        others = self.me.others
        return [self.me.send(other, Status(0)) for other in others] * self._greetings

class NoLiar:
    pass
'''


def test_an_own_liar_is_imported_by_name(tmp_path: Path, honest: RunResult) -> None:
    (tmp_path / "own_liars.py").write_text(OWN)
    lied = simulate({"strategy": "own_liars:Teller", "peers": [1]}, folder=tmp_path)
    assert lied.digest != honest.digest


def test_liars_of_an_entry_share_what_they_know(tmp_path: Path) -> None:
    (tmp_path / "own_liars.py").write_text(OWN)
    entry = {"strategy": "own_liars:Teller", "peers": [1, 4]}
    scenario = make_scenario(document(entry))
    learner = make_learner(scenario.learning, peer_count=PEERS, seed=1, folder=None)
    simulation = Simulation(scenario, learner, lambda _: None, folder=tmp_path)
    simulation.run()
    liars = [host.machine for host in simulation.world.hosts if host.index in (1, 4)]
    assert all(isinstance(liar, LyingPeer) for liar in liars)
    shared = [liar._place.shared for liar in liars if isinstance(liar, LyingPeer)]
    assert shared[0] is shared[1]
    assert shared[0]["rounds"] == 6


@pytest.mark.parametrize(
    ("liars", "message"),
    [
        ({"strategy": "silense", "peers": [1]}, "no liar 'silense'; did you mean 'silence'"),
        ({"strategy": "no_such:Liar", "peers": [1]}, "cannot be imported"),
        ({"strategy": "own_liars:NoLiar", "peers": [1]}, "NoLiar is no subclass of Liar"),
        ({"strategy": "own_liars:Absent", "peers": [1]}, "Absent is not there"),
        (
            {"strategy": "slow", "peers": [1], "arguments": {"delay": 3}},
            "its arguments are: delay_s, probability",
        ),
        (
            {"strategy": "lying-leader", "peers": [1], "arguments": {"lie": "big"}},
            "lie is one of few_adverts",
        ),
        ({"strategy": "slow", "peers": [6]}, "there is no peer 6 among 6"),
        ({"strategy": "slow"}, "give either share or peers"),
        ({"strategy": "slow", "peers": [1], "share": 0.1}, "give either share or peers"),
        ({"strategy": "slow", "peers": [1, 1]}, "a peer comes twice"),
        (
            [{"strategy": "slow", "peers": [1]}, {"strategy": "silence", "peers": [1]}],
            "a peer lies by two strategies",
        ),
    ],
)
def test_liars_that_cannot_be_are_refused(liars: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "own_liars.py").write_text(OWN)
    with pytest.raises((ScenarioError, PluginError), match=message) as caught:
        run(make_scenario(document(liars)), folder=tmp_path)
    assert "liar" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
