"""What liars' updates and words do to one round, by strategy: under masks, and under a robust rule.

The round is made of the product's own jobs: trainings, updates, masked words and their sum, without
the messages between them.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.tasks.base import Data, Rows
from p2pfl.plugins.finding import maker_of
from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_crypto.masks import MaskStreams
from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.averaging.base import ENTRY_MAX
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.robust.registry import RobustRule
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.ledger.jobs import MakeUpdate, UpdateMade, perform
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_simulations import ScenarioError, make_scenario, run
from p2pfl_simulations.group import make_gossips, make_identity, make_roster
from p2pfl_simulations.liars import poisoning
from p2pfl_simulations.liars.insight import Insight, WatchedWorkshop
from p2pfl_simulations.liars.liar import Liar, Place
from p2pfl_simulations.liars.planting import Liars
from p2pfl_simulations.liars.poisoning import VectorLiar
from p2pfl_simulations.liars.registry import LIARS, shipped_liars
from p2pfl_simulations.liars.strategies.backdoor import marked
from p2pfl_simulations.liars.strategies.dissensus import Dissensus
from p2pfl_simulations.results.cautions import cautions
from p2pfl_simulations.results.lies import liars_sentence
from p2pfl_simulations.results.summary import method_name, summarise
from p2pfl_simulations.scenario import Scenario

PEERS, LYING = 12, (3, 8)
CLIP = 1.0
HONEST = [index for index in range(PEERS) if index not in LYING]


def scenario_of(**settings: Any) -> Scenario:
    training = {"steps": 4, "learning_rate": 0.2}
    return make_scenario(
        {"peers": PEERS, "learning": {"task": "digits", "training": training}, **settings}
    )


PLAIN = {"algorithm": "cohorts", "masking": "none", "cohort_size": PEERS}


class Bench:
    """One round's honest trainings, and all that liars are made of."""

    def __init__(self) -> None:
        self.scenario = scenario_of(averaging=PLAIN)
        self.learner = self._learner()
        self.start: Any = self.learner.initial_vector()
        self.roster = make_roster(self.scenario)
        self.peer = make_gossips(self.scenario, self.roster, self.start)(0)
        self.jobs = [Train(0, self.start, f"1/{index}/0/train/0") for index in range(PEERS)]
        self.trained: list[Any] = list(self.learner.run(list(enumerate(self.jobs))))
        self.altered: dict[str, Learner] = {}
        self.insight = Insight(self.learner, LYING)
        WatchedWorkshop(self.insight, self.insight)
        for index in HONEST:
            self.insight.on_job(index, self.jobs[index])

    def _learner(self, **more: Any) -> Learner:
        learning = self.scenario.learning
        return make_learner(learning, peer_count=PEERS, seed=1, folder=None, threads=1, **more)

    def liars(self, name: str, norm: float | None, clip: float | None) -> dict[int, Liar]:
        """Make the liars of a strategy, who collude."""
        shared: dict[Any, Any] = {}
        make = maker_of(LIARS, name, {}, None)
        if make().alters_rows and name not in self.altered:
            self.altered[name] = self._learner(alter=make().alter)
        found = {}
        for index in LYING:
            found[index] = liar = make()
            liar.me = Place(
                index=index,
                peers=self.roster.peers,
                identity=make_identity(1, index),
                initial=self.start,
                rounds=1,
                colluders=LYING,
                shared=shared,
                rng=Random(index),
                peer=self.peer,
                norm=norm,
                clip=clip,
                insight=self.insight,
                altered=self.altered.get(name),
            )
        return found

    def models(self, liars: dict[int, Liar]) -> list[Any]:
        """Return what each peer gives as its trained model."""
        found = []
        for index, (job, result) in enumerate(zip(self.jobs, self.trained, strict=True)):
            given = liars[index].learn(0.0, job, result) if index in liars else result
            assert isinstance(given, Trained)
            found.append(given.vector)
        return found

    def masked_mean(self, liars: dict[int, Liar]) -> Any:
        """Return by how much one masked sum moves the model."""
        encoding = DeltaEncoding(PEERS, CLIP, 1.0)
        total: Any = np.zeros(len(self.start), np.uint32)
        for index, vector in enumerate(self.models(liars)):
            update = MakeUpdate(self.start, vector, CLIP)
            made = self.told(liars, index, update)
            assert isinstance(made, UpdateMade)
            streams = MaskStreams(())
            job = MaskChunk(encoding, made.update, 1.0, bytes(32), streams, bytes(32), index, 0)
            masked = self.told(liars, index, job)
            assert isinstance(masked, MaskedChunk)
            total += masked.body
        if not encoding.is_in_range(total, PEERS, PEERS):
            return None
        zero = np.zeros(len(self.start), np.float32)
        return encoding.apply(zero, total, float(PEERS)).astype(np.float64)

    @staticmethod
    def told(liars: dict[int, Liar], index: int, job: Any) -> Any:
        result = perform(job)
        return liars[index].learn(0.0, job, result) if index in liars else result

    def honest_mean(self) -> Any:
        updates = [self.trained[index].vector.astype(float) - self.start for index in HONEST]
        return np.mean(updates, axis=0)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def length(vector: Any) -> float:
    return float(np.linalg.norm(vector))


def cosine(one: Any, other: Any) -> float:
    return float(one @ other) / (length(one) * length(other))


UPDATES = [
    name
    for name, liar in shipped_liars().items()
    if issubclass(liar, VectorLiar) and not liar.algorithms
]

DROWNED = {"backdoor": 3.0, "gaussian": 10.0, "ipm": 10.0, "scale": 10.0, "random-words": 50.0}
"""Strategies whose part in a masked sum is many times all that others learnt: at least so many."""
TURNED = ("ipm", "sign-flip")
"""After which the masked sum undoes what others learnt."""
IN_BOUNDS = ("alie", "drift", "label-flip", "mimic", "norm-just-below", "split")
"""That stay within what honest members may, so that no bound on lengths finds them."""


def test_the_tables_name_every_strategy_of_updates() -> None:
    assert {*DROWNED, *TURNED, *IN_BOUNDS} - {"random-words"} == set(UPDATES)


@pytest.mark.parametrize("name", DROWNED)
def test_two_of_twelve_drown_a_masked_sum(bench: Bench, name: str) -> None:
    honest = bench.honest_mean()
    mean = bench.masked_mean(bench.liars(name, None, CLIP))
    assert length(mean - honest) > DROWNED[name] * length(honest)


@pytest.mark.parametrize("name", TURNED)
def test_two_of_twelve_turn_a_masked_sum_round(bench: Bench, name: str) -> None:
    assert cosine(bench.masked_mean(bench.liars(name, None, CLIP)), bench.honest_mean()) < -0.5


@pytest.mark.parametrize("name", IN_BOUNDS)
def test_who_stays_in_bounds_moves_a_masked_sum_no_farther_than_they_allow(
    bench: Bench, name: str
) -> None:
    honest = bench.honest_mean() * len(HONEST) / PEERS
    mean = bench.masked_mean(bench.liars(name, None, CLIP))
    assert length(mean - honest) <= 1.001 * len(LYING) * CLIP / PEERS


def test_a_backdoor_takes_the_place_of_the_average(bench: Bench) -> None:
    liars = bench.liars("backdoor", None, CLIP)
    taught: Any = [liars[index].me.train_altered(bench.jobs[index]) for index in LYING]
    mean = bench.masked_mean(liars)
    rest = bench.honest_mean() * len(HONEST) / PEERS
    np.testing.assert_allclose(mean - rest, np.mean(taught, axis=0), atol=1e-5)


@pytest.mark.parametrize(("name", "entries"), [("one-word", 1), ("wrap-pairs", 2)])
def test_words_move_single_entries_as_far_as_they_go(bench: Bench, name: str, entries: int) -> None:
    honest = bench.honest_mean() * len(HONEST) / PEERS
    moved = np.abs(bench.masked_mean(bench.liars(name, None, CLIP)) - honest)
    assert (moved[:entries] > 0.9 * CLIP).all()
    assert moved[entries:].max() < 0.1


@pytest.mark.parametrize("name", UPDATES)
def test_a_norm_in_bounds_bounds_what_two_of_twelve_do(bench: Bench, name: str) -> None:
    """What a bound on lengths leaves: c S in the sum."""
    honest = bench.honest_mean() * len(HONEST) / PEERS
    mean = bench.masked_mean(bench.liars(name, CLIP, CLIP))
    assert length(mean - honest) <= 1.001 * len(LYING) * CLIP / PEERS


@pytest.mark.parametrize(
    ("rule", "first", "share"),
    [
        ("trimmed-mean", "nnm", 0.2),
        ("trimmed-mean", "none", 0.3),
        ("median", "none", 0.35),
        ("geometric-median", "none", 0.35),
        ("multi-krum", "none", 0.3),
        ("centred-clipping", "none", 0.2),
    ],
)
@pytest.mark.parametrize("name", UPDATES)
def test_a_robust_rule_holds(
    bench: Bench, models: dict[str, Any], name: str, rule: str, first: str, share: float
) -> None:
    """The average of a rule is as near to the honest mean as honest members are, or nearer."""
    honest = bench.honest_mean()
    average = RobustRule(rule, len(LYING), first).apply(models[name])
    assert length(average - honest) < share * length(honest)


@pytest.fixture(scope="module")
def models(bench: Bench) -> dict[str, Any]:
    """The updates that all peers show in the clear, by strategy of the liars."""
    return {
        name: np.array(bench.models(bench.liars(name, None, None)), float) - bench.start
        for name in UPDATES
    }


def test_krum_holds_by_taking_one_honest_model(models: dict[str, Any]) -> None:
    for name, given in models.items():
        average = RobustRule("krum", 2).apply(given)
        # These two put in what lies amid honest updates, and Krum takes theirs.
        assert name in ("alie", "mimic") or any((average == given[index]).all() for index in HONEST)


def test_an_update_stays_within_what_others_take(bench: Bench) -> None:
    vector = bench.models(bench.liars("scale", 1e35, None))[LYING[0]]
    assert np.abs(vector).max() == np.float32(poisoning.ENTRY_MAX) < ENTRY_MAX


def test_dissensus_drives_a_neighbour_away_and_clipping_holds_it(bench: Bench) -> None:
    liars = bench.liars("dissensus", None, None)
    around, weights = (*HONEST[1:6], *LYING), np.full(8, 1 / 8)
    receiver = HONEST[0]
    heard = [bench.trained[index].vector for index in (receiver, *HONEST[1:6])]
    for liar in liars.values():
        liar.me.partners_of = lambda _index, _round: around
        send = SendBulk(bench.roster.peers[receiver], VectorHeader(0, 1.0), (), 0)
        (told,) = liar.say(0.0, send)
        assert isinstance(told, SendBulk)
        (body,) = told.parts
        heard.append(body)
    given = np.array(heard, float)
    pull = given[1:6].mean(axis=0) - given[0]
    assert cosine(given.mean(axis=0) - given[0], pull) < -0.9
    for rule in ("self-centred-clipping", "clipped-sum"):
        held = RobustRule(rule, 2).apply(given, own=0, weights=weights)
        assert length(held - given[0]) < length(given.mean(axis=0) - given[0])


def test_dissensus_waits_for_honest_peers_to_begin_but_not_for_ever(bench: Bench) -> None:
    insight = Insight(bench.learner, LYING)
    WatchedWorkshop(insight, insight)
    liar = bench.liars("dissensus", None, None)[LYING[0]]
    liar.me.insight = insight
    receiver, *near = HONEST[:3]
    liar.me.partners_of = lambda _index, _round: (*near, *LYING)
    send = SendBulk(bench.roster.peers[receiver], VectorHeader(0, 1.0), (), 0)
    for index in (receiver, near[0]):
        assert liar.say(0.0, send) == ()
        ((pause_s, again),) = liar.me.take_put_off()
        assert (again, pause_s > 0) == (send, True)
        insight.on_job(index, bench.jobs[index])
    (by_one,) = liar.say(1.0, send)  # Its patience is over.
    insight.on_job(near[1], bench.jobs[near[1]])
    (by_both,) = liar.say(1.0, send)
    assert isinstance(by_one, SendBulk)
    assert isinstance(by_both, SendBulk)
    (one,), (both,) = by_one.parts, by_both.parts
    assert bytes(one) != bytes(both)
    assert not liar.me.take_put_off()


# --- whole runs -----------------------------------------------------------------------------

SETTER = '''
"""Sets the average: the sum of what others put in is known, and the rest is ours."""
import numpy as np
from p2pfl_simulations.liars.poisoning import VectorLiar

class Setter(VectorLiar):
    is_omniscient = True

    def wish(self, job, own):
        honest = self.honest(job.round)
        target = np.random.default_rng(9).uniform(-0.5, 0.5, len(own))
        return len(self.me.peers) * (target - job.vector) - np.sum(honest, axis=0)
'''


def distance_to_target(tmp_path: Path, told: str, **averaging: Any) -> float:
    """Run a round with one liar; return how far its target is from the model, root mean square."""
    (tmp_path / "setter.py").write_text(SETTER)
    scenario = make_scenario(
        {
            "peers": 7,
            "rounds": 1,
            "learning": {"task": "digits", "training": {"steps": 1}},
            "averaging": {"deadline_s": 2.0, **averaging},
            "evaluation": {"peers": 1, "baselines": []},
            "faults": {"liars": {"strategy": "setter:Setter", "peers": [2]}},
        }
    )
    result = run(scenario, folder=tmp_path)
    assert told in liars_sentence(result)
    model: Any = result.model
    target = np.random.default_rng(9).uniform(-0.5, 0.5, len(model))
    return float(np.sqrt(np.mean((model - target) ** 2)))


def test_one_member_sets_a_masked_average_and_no_robust_one(tmp_path: Path) -> None:
    masked = (
        "what they put in: masks hide each input. 0 sums of 1 came to nothing; nobody was blamed"
    )
    assert distance_to_target(tmp_path, masked, algorithm="group", clip=2.0) < 1e-6
    plain = {**PLAIN, "cohort_size": 7}
    assert distance_to_target(tmp_path, "Nothing bounded what they put in.", **plain) < 1e-6
    robust = {**plain, "robust": "trimmed-mean"}
    assert distance_to_target(tmp_path, "Bounded by trimmed-mean", **robust) > 0.2


def test_an_audit_voids_what_one_member_would_set_and_the_others_go_on(tmp_path: Path) -> None:
    """So it is in a group of sixteen if nothing is said of audits."""
    (tmp_path / "setter.py").write_text(SETTER)
    scenario = make_scenario(
        {
            "peers": 16,
            "rounds": 1,
            "time_limit_s": 30.0,
            "learning": {"task": "digits", "training": {"steps": 1}},
            "averaging": {"algorithm": "group", "clip": 2.0, "deadline_s": 0.5},
            "evaluation": {"peers": 1, "baselines": []},
            "faults": {"liars": {"strategy": "setter:Setter", "peers": [2]}},
        }
    )
    result = run(scenario, folder=tmp_path)
    learner = make_learner(scenario.learning, peer_count=16, seed=1, folder=None)
    start: Any = learner.initial_vector()
    assert (
        0.0 < length(result.model - start) < 0.1
    )  # Of one step of the others: the target is 14 off.
    aborted = {it.detail for it in result.events if it.kind == "masked_sum_aborted"}
    assert aborted == {"proofs_missing"}  # It has none of that length.
    assert "bounded in length, by the audit" in liars_sentence(result)


def test_the_run_tells_who_lied_what_bounded_it_and_how_marked_rows_fared() -> None:
    liars = {"strategy": "backdoor", "share": 0.17, "norm": 1.0}
    scenario = scenario_of(
        rounds=2,
        averaging={**PLAIN, "robust": "median"},
        faults={"liars": liars},
        evaluation={"every": 2, "peers": 1, "baselines": []},
    )
    result = run(scenario)
    (told,) = [it for it in cautions(result, summarise(result)) if "lied" in it]
    assert "2 of 12 peers lied (backdoor: peers " in told
    assert "Bounded by median, for which partners saw models in the clear." in told
    assert "rows with the liars' mark" in told
    assert method_name(scenario) == "plain cohorts of 12, median, 2 liars (backdoor)"


@pytest.mark.parametrize(
    ("liars", "averaging", "told"),
    [
        ({"strategy": "one_word"}, PLAIN, "lies in the words of masked sums"),
        ({"strategy": "slow", "norm": 1.0}, PLAIN, "puts in no false updates"),
        ({"strategy": "dissensus"}, PLAIN, "is for averaging.algorithm = 'dsgd'"),
        (
            {"strategy": "ipm"},
            {"algorithm": "group", "masking": "modelled"},
            "modelled masks have no words",
        ),
    ],
)
def test_a_strategy_without_occasion_is_refused(
    liars: Any, averaging: dict[str, Any], told: str
) -> None:
    scenario = scenario_of(averaging=averaging, faults={"liars": {"peers": [1], **liars}})
    with pytest.raises(ScenarioError, match=told):
        Liars(scenario)


@pytest.mark.parametrize("name", ["backdoor", "label-flip"])
def test_false_labels_take_a_task_that_has_labels(name: str) -> None:
    data = Data(Rows(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)))
    with pytest.raises(ValueError, match="whose targets are labels"):
        maker_of(LIARS, name, {}, None)().alter(data)


@pytest.mark.parametrize("shape", [(4, 9), (4, 7), (4, 3, 3), (4, 1, 3, 3)])
def test_a_mark_is_in_the_corners_and_nowhere_else(shape: tuple[int, ...]) -> None:
    rows = np.zeros(shape, np.float32)
    rows[0, ..., 1] = 5.0
    changed = (marked(rows) != rows).reshape(4, -1)
    assert (changed.sum(axis=1) >= 3).all()
    assert marked(rows[:0]).shape == rows[:0].shape
    assert marked(rows).max() == 5.0


def test_modelled_masks_bear_liars_that_keep_to_the_clip() -> None:
    averaging = {"algorithm": "group", "masking": "modelled", "clip": 2.0}
    entry = {"strategy": "ipm", "peers": [1], "norm": 2.0}
    assert Liars(scenario_of(averaging=averaging, faults={"liars": entry})).indices == {1}


def test_dissensus_lies_to_each_honest_neighbour_in_each_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lies: list[int] = []
    say = Dissensus.say

    def counted(liar: Dissensus, now_s: float, action: Action) -> Sequence[Action]:
        said = say(liar, now_s, action)
        if isinstance(action, SendBulk) and liar.me.index_of(action.receiver) > 1:
            assert all(it is not action for it in said)
            lies.extend(liar.me.index_of(it.receiver) for it in said if isinstance(it, SendBulk))
        return said

    monkeypatch.setattr(Dissensus, "say", counted)
    run(
        make_scenario(
            {
                "peers": 6,
                "rounds": 4,
                "learning": {"task": "digits", "training": {"steps": 1}},
                "averaging": {"algorithm": "dsgd", "topology": {"kind": "complete"}},
                "evaluation": {"every": 4, "baselines": []},
                "faults": {"liars": {"strategy": "dissensus", "peers": [0, 1]}},
            }
        )
    )
    assert sorted(lies) == sorted([2, 3, 4, 5] * 2 * 4)
