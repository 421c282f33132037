"""Training draws: a daemon's are nobody's to know, a launched trial's are given by its launcher."""

from typing import Any

import pytest

from p2pfl.daemon.building import make_network_peer
from p2pfl.group.agreed import Agreed, AgreedLearning
from p2pfl.group.cards import Member
from p2pfl.group.settings import CohortSettings
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Work
from p2pfl_gossip.learning import Train
from p2pfl_gossip.opening import Begun, Opening

IDENTITIES = [Identity(bytes([number]) * 32) for number in range(1, 6)]
PLAIN = {"masking": "none", "cohort_size": 2}


def agreed_by(peers: int, averaging: dict[str, Any]) -> Agreed:
    return Agreed(
        name="two",
        rounds=30,
        seed=1,
        evaluate_every=1,
        checkpoint_every=1,
        learning=AgreedLearning(),
        averaging=CohortSettings(**averaging),
        members=tuple(
            Member(
                name=f"m{place}",
                peer_id=identity.peer_id,
                addresses=("/ip4/192.0.2.1/tcp/4001",),
            )
            for place, identity in enumerate(IDENTITIES[:peers])
        ),
    )


def machine_of(
    peers: int = 2, averaging: dict[str, Any] = PLAIN, draws: str | None = None
) -> tuple[Opening, bytes]:
    agreed = agreed_by(peers, averaging)
    learner = make_learner(agreed.learning.of_member(None), peer_count=1, seed=1, folder=None)
    machine = make_network_peer(
        agreed,
        bytes(32),
        IDENTITIES[0],
        learner,
        learner.initial_vector(),
        draw_seed=bytes(32),
        draws=draws,
    )
    return machine, learner.description.digest


def first_training(draws: str | None) -> Train:
    machine, description = machine_of(draws=draws)
    actions = machine.on_start(0.0, {})
    actions += machine.on_message(0.0, IDENTITIES[1].peer_id, Begun(description))
    (job,) = [it.job for it in actions if isinstance(it, Work)]
    assert isinstance(job, Train)
    return job


def test_nobody_can_repeat_the_draws_of_a_daemon() -> None:
    """All that is public of them are the member's place, its process and the round."""
    one, other = first_training(None).stream, first_training(None).stream
    assert one.partition("/")[2] == other.partition("/")[2] == "0/1/train/0"
    names = [bytes.fromhex(stream.partition("/")[0]) for stream in (one, other)]
    assert [len(name) for name in names] == [16, 16]
    assert names[0] != names[1]


def test_a_launcher_gives_the_draws_of_a_trial() -> None:
    assert first_training("7").stream == "7/0/1/train/0"


def test_a_start_that_masked_sums_would_cut_is_refused_before_a_peer_opens() -> None:
    cut = {"masking": "real", "cohort_size": 5, "clip": 0.01}
    with pytest.raises(LearningError) as told:
        machine_of(5, cut)
    assert "masked sums would cut its initial model to averaging.clip = 0.01: " in str(told.value)
    assert machine_of(5, cut | {"masking": "none"})[0].state == "new"
