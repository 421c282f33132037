"""Private rounds of a group, through the real masked sums and the ledger."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from kept_chunks import KeepsChunks
from ledger_world import LedgerWorld, ToyWorker, first_model, pull_of
from private_group import PrivateWorld

from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import Action, Command, Job, Persist, SendBulk, Work
from p2pfl_gossip.events import AveragingStarted, Finished, TrainingFailed
from p2pfl_gossip.learning import Trained
from p2pfl_gossip.ledger.entries import origin
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Rest
from p2pfl_gossip.ledger.privacy import ABORTS_MAX, FEATURE, PrivateUnit, read_feature
from p2pfl_gossip.masked_sum.jobs import Spend
from p2pfl_gossip.masked_sum.messages import ChunkHeader
from p2pfl_gossip.records import Record
from p2pfl_simulations.checkers.base import Checker


class SpendsFirst(Checker):
    """Each chunk of words leaves behind an answered `Spend` and the record of it."""

    name = "spends_first"

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}
        self.answered: dict[int, int] = {}
        self.kept: dict[int, int] = {}
        self.chunks = 0
        self._tickets: dict[tuple[int, int], bool] = {}

    def start(self, watched: Any) -> None: ...

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "on_work_done" and self._tickets.pop((host, arguments[0]), False):
            self.answered[host] = self.answered.get(host, 0) + 1

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        if isinstance(action, Work) and isinstance(action.job, Spend):
            self._tickets[host, action.ticket] = True
            self.asked[host] = self.asked.get(host, 0) + 1
        elif isinstance(action, Persist) and self.answered.get(host, 0) > self.kept.get(host, 0):
            self.kept[host] = self.answered[host]
        elif isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader):
            self.chunks += 1
            assert self.kept.get(host, 0) == self.answered.get(host, 0) == self.asked[host] > 0


def one_keeper() -> tuple[list[KeepsChunks], Callable[[int, GroupMember], Any]]:
    """Member 4, once it is made, and what makes it."""
    made: list[KeepsChunks] = []

    def wrap(index: int, member: GroupMember) -> Any:
        if index != 4:
            return member
        made.append(KeepsChunks(member))
        return made[0]

    return made, wrap


def sum_of(given: list[Masked]) -> npt.NDArray[np.float64]:
    total = np.zeros_like(given[0])
    for words in given:
        total += words
    return total.view(np.int32).astype(np.float64)


def test_every_round_is_a_step_by_the_noisy_sum() -> None:
    """The model moves by what all gave, by the height's rate, with momentum, to the last bit."""
    checker = SpendsFirst()
    world = PrivateWorld(5, rounds=3, privacy={"momentum": 0.5}, checkers=(checker,))
    world.start()
    world.run(300.0)
    assert world.are_finished()
    entries = world.certified()
    assert [entry.height for entry in entries] == [1, 2, 3]
    privacy, words = world.privacy, world.worker.words
    encoding = privacy.lot_encoding(5, world.entries)
    unit = encoding.gradient_unit(250.0)
    model = first_model(world.entries).astype(np.float64)
    momentum = np.zeros(world.entries)
    for place, entry in enumerate(entries):
        assert world.epoch.unpack(entry.members) == (0, 1, 2, 3, 4)
        given = [said for _, said in words[5 * place : 5 * place + 5]]
        momentum = (momentum * 0.5 + sum_of(given) * unit).astype(np.float32)
        momentum = momentum.astype(np.float64)
        rate = (2.0, 1.25, 0.5)[place]
        model = (model - momentum * rate).astype(np.float32).astype(np.float64)
    for found in world.models():
        assert (found == model.astype(np.float32)).all()
    assert checker.chunks
    assert [item.name for item in entries[-1].state] == ["model", "momentum"]
    # What they say of it: nobody need believe an epsilon.
    (feature,) = entries[0].features
    said = read_feature(feature.value)
    assert feature.name == FEATURE
    assert (said.rate_units, said.noise_units, said.least) == (2**30, 2**20, 4)
    assert said.sensitivity == encoding.sensitivity


def test_noise_is_drawn_anew_by_each_member_in_each_round() -> None:
    """What members gave differs in all entries, and never repeats."""
    world = PrivateWorld(5, rounds=3)
    world.start()
    world.run(300.0)
    words = [said for _, said in world.worker.words]
    assert len(words) == 15
    stack = np.stack(words).view(np.int32).astype(np.float64)
    correlation = np.corrcoef(stack)
    assert np.abs(correlation - np.eye(15)).max() < 0.6
    assert 0.8 < stack.std() / world.privacy.width(5).variance ** 0.5 < 1.2


def test_who_fails_to_train_gives_noise_all_the_same() -> None:
    """Staying away would tell of its rows."""
    world = PrivateWorld(5, rounds=2)
    world.worker.loses = lambda index: index == 2
    world.start()
    world.run(300.0)
    assert world.are_finished()
    for entry in world.certified():
        assert world.epoch.unpack(entry.members) == (0, 1, 2, 3, 4)
    failed = [event for event in world.watcher.events[2] if isinstance(event, TrainingFailed)]
    assert len(failed) == 2


def test_a_sum_of_too_few_is_never_opened() -> None:
    """With u_min of all five, nothing comes of a round without one of them."""
    world = PrivateWorld(5, rounds=3, privacy={"least": 5})
    world.start()
    world.run(20.0)
    done = world.member(0).round
    world.world.take_offline(world.hosts[4], "test")
    world.run(200.0)
    assert world.member(0).round <= done + 1
    world.world.bring_online(world.hosts[4], "test")
    world.run(800.0)
    assert world.are_finished()
    for entry in world.certified():
        assert world.epoch.unpack(entry.members) == (0, 1, 2, 3, 4)


def test_three_vectors_from_one_model_are_enough() -> None:
    """A member whose rounds are lost after it gave rests, until its operator looks."""
    world = PrivateWorld(5, rounds=2)
    world.start()
    world.run(1.0)
    course = world.member(0)._started.parts.course
    standing, spent_from = course._standing, origin(world.epoch, course._history.head.entry)
    for round_ in range(1, 1 + ABORTS_MAX):
        assert course.rest() == Rest.NONE
        standing.spend(spent_from, round_, world.epoch.digest)
    assert course.rest() == Rest.SPENT


def test_who_has_spent_all_rests() -> None:
    """T vectors, those of lost rounds too; then no more, whatever comes."""
    world = PrivateWorld(5, rounds=2, privacy={"spends": 2})
    world.start()
    world.run(300.0)
    assert world.are_finished()
    records = [world.member(index)._started.parts.standing for index in range(5)]
    assert [standing.charges(world.epoch.digest) for standing in records] == [2] * 5
    assert all(world.member(index)._started.parts.course.spends.has_spent_all for index in range(5))


def test_a_group_whose_members_have_spent_all_ends_by_itself() -> None:
    """A round was lost after all had given: three vectors each have paid for two models."""
    keeper, wrap = one_keeper()
    checker = SpendsFirst()
    world = PrivateWorld(
        5, rounds=3, privacy={"least": 5, "spends": 3}, wrap=wrap, checkers=(checker,)
    )
    world.start()
    parts = [world.member(index)._started.parts for index in range(5)]
    until_s = 0.0
    while max(it.course.round for it in parts) < 2:
        until_s += 0.05
        assert until_s < 60
        world.run(until_s)
    keeper[0].is_keeping = False
    world.run(200.0)
    assert [_ends_of(world, index) for index in range(5)] == [[2]] * 5
    sent = checker.chunks
    world.run(4000.0)
    assert checker.chunks == sent
    assert [it.standing.charges(world.epoch.digest) for it in parts] == [3] * 5
    assert {it.course.rest() for it in parts} == {Rest.SPENT}


def test_who_still_could_give_ends_too_where_too_few_can() -> None:
    """Two of five have spent all, and a sum takes four: others' vectors would be for nothing."""
    world = PrivateWorld(5, rounds=3, privacy={"least": 4, "spends": 3})
    world.start()
    world.run(0.01)
    parts = [world.member(index)._started.parts for index in range(5)]
    for lost in parts[3:]:
        lost.standing.spend(origin(world.epoch, lost.history.head.entry), 1, world.epoch.digest)
    world.run(600.0)
    assert [_ends_of(world, index) for index in range(5)] == [[2]] * 5
    assert [it.standing.charges(world.epoch.digest) for it in parts] == [2, 2, 2, 3, 3]
    assert [world.member(index).gives_no_more for index in range(5)] == [False] * 3 + [True] * 2
    assert all(world.member(index).is_spent_out for index in range(5))
    assert {it.course.rest() for it in parts} == {Rest.SPENT}


def test_whose_budget_knows_of_more_spends_than_its_journal_ends_the_group_too() -> None:
    """As where power failed between the two: what it may not give, it says to others as given."""
    world = PrivateWorld(5, rounds=3, privacy={"least": 4, "spends": 9})
    world.worker.denies = lambda index: index >= 3
    world.start()
    world.run(900.0)
    assert [_ends_of(world, index) for index in range(5)] == [[0]] * 5
    assert {world.member(index)._started.parts.course.rest() for index in range(5)} == {Rest.SPENT}


def _ends_of(world: PrivateWorld, index: int) -> list[int]:
    return [it.round for it in world.watcher.events[index] if isinstance(it, Finished)]


def test_whole_members_are_hidden_by_a_sum_of_updates() -> None:
    """It moves the model by their mean, and by all the noise."""
    fields: dict[str, Any] = {"unit": PrivateUnit.MEMBER, "rows": 0, "rate_units": 2**32}
    world = PrivateWorld(5, rounds=2, privacy=fields)
    world.start()
    world.run(300.0)
    assert world.are_finished()
    models = world.models()
    assert all((model == models[0]).all() for model in models)
    moved = models[0] - first_model(world.entries)
    # Two means of five updates of norm 1, each clipped to 1, and noise of some .2 an entry.
    pulls = sum(pull_of(index, world.entries) for index in range(5)) / 5
    noise = world.privacy.width(5).variance ** 0.5 * 5**0.5
    noise *= 1 / world.privacy.sensitivity(5) / 5 * 2**0.5
    assert 0.5 < (moved - 2 * pulls).std() / noise < 1.5


def test_who_missed_rounds_fetches_the_momentum_too() -> None:
    """Without it, nobody could work out what a later sum leads to."""
    world = PrivateWorld(5, rounds=4, privacy={"momentum": 0.5})
    world.start()
    world.world.take_offline(world.hosts[4], "test")
    world.run(60.0)
    assert world.member(0).round >= 2
    world.world.bring_online(world.hosts[4], "test")
    world.run(900.0)
    heads = [world.member(index)._started.parts.heads for index in range(5)]
    assert world.are_finished()
    for one in heads:
        assert (one.others[0] == heads[0].others[0]).all()
        assert (one.vector == heads[0].vector).all()
        assert np.abs(one.others[0]).max() > 0


def test_who_forgets_what_it_spent_is_in_no_sum() -> None:
    """A copy with an older journal would spend a budget twice: others know better."""
    world = PrivateWorld(5, rounds=4)
    world.start()
    world.run(1.0)
    forgetful = world.member(4)._started.parts.standing
    setattr(forgetful, "charges", lambda _charter: 0)  # noqa: B010
    world.run(900.0)
    members = [world.epoch.unpack(entry.members) for entry in world.certified()]
    assert members == [(0, 1, 2, 3, 4), *[(0, 1, 2, 3)] * 3]
    history = world.member(0).history
    assert history.given(4, 10**6) == 1
    assert history.given(0, 10**6) == 4
    assert history.given(0, world.certified()[2].round) == 2


class LosslessWorker(ToyWorker):
    """Trains as where nobody is trusted: no loss is worked out."""

    def _do(self, index: int, job: Job) -> Record:
        result = super()._do(index, job)
        if not isinstance(result, Trained):
            return result
        return Trained(result.vector, result.sample_count, math.nan)


def test_a_loss_that_nobody_worked_out_is_not_told() -> None:
    """Neither screen nor metrics show NaN."""

    class Lossless(LedgerWorld):
        def make_worker(self) -> LosslessWorker:
            return LosslessWorker()

    world = Lossless(5, rounds=1)
    world.start()
    world.run(100.0)
    told = [event for event in world.watcher.events[0] if isinstance(event, AveragingStarted)]
    assert [event.loss for event in told] == [None]


def test_a_group_whose_rounds_are_aborted_on_purpose_rests() -> None:
    """It burns three vectors of each honest budget, and no more, before operators look."""
    keeper, wrap = one_keeper()
    world = PrivateWorld(
        5,
        rounds=2,
        privacy={"least": 5, "spends": 12},
        wrap=wrap,
    )
    world.start()
    world.run(400.0)
    assert world.certified() == []
    for index in range(4):
        parts = world.member(index)._started.parts
        assert parts.standing.charges(world.epoch.digest) == ABORTS_MAX
        assert parts.course.rest() == Rest.SPENT
        assert world.member(index).awaits_operator
    # Their operators look, and see to the one whose words never came.
    keeper[0].is_keeping = False
    for index, host in enumerate(world.hosts):
        actions = world.member(index).on_command(world.queue.now_s, Command.RESUME)
        host.queue.push(actions)
    world.run(800.0)
    assert world.are_finished()
