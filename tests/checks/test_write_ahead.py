"""No message leaves before the record that it promises: in real runs, and the observer can see."""

from collections.abc import Callable
from typing import Any

import pytest
from forging import all_messages

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.actions import Action, Persist, Send, SendBulk
from p2pfl_gossip.masked_sum.journal import KEY_PREFIX, Step, read_record
from p2pfl_gossip.masked_sum.machine import MaskedSum
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Advert,
    ChunkHeader,
    MeanSignature,
    Vote,
)
from p2pfl_gossip.peer import Peer
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.checkers.write_ahead import PROMISES, WriteAhead
from p2pfl_simulations.scenario import make_scenario
from p2pfl_simulations.simulation import Simulation

GROUP: dict[str, Any] = {
    "seed": 3,
    "peers": 6,
    "rounds": 3,
    "learning": {"task": "integers"},
    "averaging": {"algorithm": "cohorts", "cohort_size": 6, "masking": "real", "clip": 65536.0},
    "faults": {"crash": {"probability": 0.2}},
    "evaluation": {"baselines": []},
}


def simulate(document: dict[str, Any] = GROUP) -> None:
    scenario = make_scenario(document)
    learner = make_learner(
        scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=None
    )
    Simulation(scenario, learner, lambda _: None, checkers=(WriteAhead(),)).run()


def test_the_table_of_promises_holds_every_message() -> None:
    assert sorted(kind.__name__ for kind in PROMISES) == sorted(all_messages())


def test_nothing_leaves_before_its_record() -> None:
    simulate()


@pytest.mark.parametrize("algorithm", ["dsgd", "push-sum", "age-gossip"])
def test_nothing_leaves_before_its_record_where_models_are_shown(algorithm: str) -> None:
    simulate(
        GROUP
        | {
            "averaging": {"algorithm": algorithm}
            | ({"topology": {"kind": "ring"}} if algorithm != "age-gossip" else {})
        }
    )


def held_back(step: Step, kind: type) -> Callable[[list[Action]], list[Action]]:
    """Move the record of a step behind the first message of a kind."""

    def reorder(actions: list[Action]) -> list[Action]:
        records = [action for action in actions if is_record(action, step)]
        rest = [action for action in actions if action not in records]
        return rest + records if any(says(action, kind) for action in rest) else actions

    return reorder


def is_record(action: Action, step: Step) -> bool:
    return isinstance(action, Persist) and any(
        key.startswith(KEY_PREFIX) and isinstance(value, bytes) and read_record(value).step == step
        for key, value in action.records.items()
    )


def says(action: Action, kind: type) -> bool:
    message = action.message if isinstance(action, Send) else None
    message = action.header if isinstance(action, SendBulk) else message
    return isinstance(message, kind)


@pytest.mark.parametrize(
    ("step", "kind", "record"),
    [
        (Step.BEGUN, Advert, "the session's beginning"),
        (Step.ACKED, Ack, "what was acknowledged"),
        (Step.VOTED, Vote, "what was voted for"),
        (Step.SIGNED, MeanSignature, "which mean was signed"),
    ],
    ids=["advert", "ack", "vote", "signature"],
)
def test_a_record_behind_its_message_is_seen(
    monkeypatch: pytest.MonkeyPatch, step: Step, kind: type, record: str
) -> None:
    reorder, end = held_back(step, kind), MaskedSum._end
    monkeypatch.setattr(MaskedSum, "_end", lambda machine: reorder(end(machine)))
    with pytest.raises(Violation, match=f"sends {kind.__name__} before it has recorded {record}"):
        simulate()


@pytest.mark.parametrize(
    ("step", "kind", "record"),
    [(Step.SPENT, ChunkHeader, "that the vector is spent")],
    ids=["chunk"],
)
def test_a_record_that_is_never_made_is_seen(
    monkeypatch: pytest.MonkeyPatch, step: Step, kind: type, record: str
) -> None:
    end = MaskedSum._end

    def without(machine: MaskedSum) -> list[Action]:
        return [action for action in end(machine) if not is_record(action, step)]

    monkeypatch.setattr(MaskedSum, "_end", without)
    with pytest.raises(Violation, match=f"sends {kind.__name__} before it has recorded {record}"):
        simulate()


def test_a_gatherer_that_has_not_recorded_its_own_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    end = MaskedSum._end

    def without(machine: MaskedSum) -> list[Action]:
        return [action for action in end(machine) if not is_record(action, Step.SIGNED)]

    monkeypatch.setattr(MaskedSum, "_end", without)
    # Those of the others are seen before.
    table = dict(PROMISES)
    del table[MeanSignature]
    monkeypatch.setattr("p2pfl_simulations.checkers.write_ahead.PROMISES", table)
    with pytest.raises(Violation, match="sends MeanSignatures before it has recorded which mean"):
        simulate()


def test_a_life_without_a_number_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Peer.on_start

    def without(peer: Peer, now_s: float, records: dict[str, Any]) -> list[Action]:
        return [it for it in start(peer, now_s, records) if not isinstance(it, Persist)]

    monkeypatch.setattr(Peer, "on_start", without)
    with pytest.raises(Violation, match="before it has recorded the number of this life"):
        simulate()
