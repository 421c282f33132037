"""Training draws: a daemon's are nobody's to know, a launched trial's are given by its launcher."""

from typing import Any

import pytest

from p2pfl.daemon.building import make_machine
from p2pfl.daemon.errors import MembershipError
from p2pfl.group.cards import Member
from p2pfl.group.roster_file import RosterFile, make_roster
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl_crypto.draw_seed import commit_draw
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Work
from p2pfl_gossip.learning import Train
from p2pfl_gossip.opening import Begun

IDENTITIES = [Identity(bytes([number]) * 32) for number in range(1, 6)]
SECRET = bytes(32)


PLAIN = {"masking": "none", "cohort_size": 2}


def roster(
    draw_seed: str | None = "ab" * 32, peers: int = 2, averaging: dict[str, Any] = PLAIN
) -> RosterFile:
    members = [
        Member(
            name=f"m{place}",
            peer_id=identity.peer_id,
            addresses=("/ip4/192.0.2.1/tcp/4001",),
            commitment=commit_draw(bytes([place]) * 32).hex(),
        )
        for place, identity in enumerate(IDENTITIES[:peers])
    ]
    return make_roster(
        {
            "name": "two",
            "draw_seed": draw_seed,
            "averaging": {"algorithm": "cohorts", **averaging},
            "members": [member.model_dump() for member in members],
        },
        source="test",
    )


def first_stream(draws: str | None) -> str:
    """Return the name of the stream that the first training draws by."""
    group = roster()
    learner = make_learner(group.learning.of_member(None), peer_count=1, seed=1, folder=None)
    machine = make_machine(group, 0, IDENTITIES[0], learner, SECRET, draws=draws)
    actions = machine.on_start(0.0, {})
    actions += machine.on_message(0.0, IDENTITIES[1].peer_id, Begun(learner.description.digest))
    (job,) = [it.job for it in actions if isinstance(it, Work)]
    assert isinstance(job, Train)
    return job.stream


def test_nobody_can_repeat_the_draws_of_a_daemon() -> None:
    """All that is public of them are the member's place, its process and the round."""
    one, other = first_stream(None), first_stream(None)
    assert one.partition("/")[2] == other.partition("/")[2] == "0/1/train/0"
    names = [bytes.fromhex(stream.partition("/")[0]) for stream in (one, other)]
    assert [len(name) for name in names] == [16, 16]
    assert names[0] != names[1]


def test_a_launcher_gives_the_draws_of_a_trial() -> None:
    assert first_stream("7") == "7/0/1/train/0"


def test_draws_are_given_in_trials_only() -> None:
    learner = make_learner(roster().learning.of_member(None), peer_count=1, seed=1, folder=None)
    with pytest.raises(MembershipError, match="draws of training are given in trials only"):
        make_machine(roster(None), 0, IDENTITIES[0], learner, SECRET, draws="7")


def test_a_start_that_masked_sums_would_cut_is_refused_before_a_peer_opens() -> None:
    found = []
    for masking in ("real", "none"):
        group = roster(peers=5, averaging={"masking": masking, "cohort_size": 5, "clip": 0.01})
        learner = make_learner(group.learning.of_member(None), peer_count=1, seed=1, folder=None)
        try:
            make_machine(group, 0, IDENTITIES[0], learner, SECRET)
            found.append("made")
        except LearningError as error:
            found.append(str(error))
    assert found[1] == "made"
    assert "masked sums would cut its initial model to averaging.clip = 0.01: " in found[0]
