"""No member's word moves a peer of masked cohorts, or gives it a model."""

from typing import Any

import msgspec
import numpy as np
import pytest
from attacking import Attack, Liar

from p2pfl_crypto.statements import sign_statement
from p2pfl_gossip.actions import Send, SendBulk
from p2pfl_gossip.averaging.cohort_averaging import PartHeader
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest, Status, StatusRequest
from p2pfl_gossip.events import CaughtUp, RoundEnded, RoundLost
from p2pfl_gossip.masked_sum.certificate import Certificate, digest_of
from p2pfl_gossip.peer_state import State
from p2pfl_simulations.group import make_identity

AHEAD = 10
EVIL = np.float32(0.125)


def forged(attack: Attack, vector: Any, round_: int, signers: tuple[int, ...]) -> Certificate:
    """Sign a vector as the cohort's mean of a round, by these members' keys."""
    proofs: Any = attack.peer(1)._averaging
    cohort = proofs._make_cohort(round_ - 1, 0)
    members, digest = cohort.pack(range(cohort.size)), digest_of(cohort, vector)
    signatures = [
        sign_statement(make_identity(1, rank), b"mean", rank, cohort.session, members, digest)
        for rank in signers
    ]
    named = cohort.pack(range(cohort.threshold))
    # The liar signs for those whose keys it has not.
    signatures += [signatures[0]] * (cohort.threshold - len(signatures))
    return Certificate(round_ - 1, 0, members, digest, named, b"".join(signatures))


class Puller(Liar):
    """Is far ahead, says so by a frame of another averaging, and gives its own model."""

    def on_start(self, now_s: float, records: Any) -> Any:
        actions = self.peer.on_start(now_s, records)
        frame = PartHeader(AHEAD, 1.0)
        said = [Status(AHEAD), frame]
        return [*actions, *(Send(other, one) for other in self.others() for one in said)]

    def on_message(self, now_s: float, sender: Any, message: Any) -> Any:
        if isinstance(message, ModelRequest):
            body = np.full_like(self.attack.initial, EVIL)
            return [SendBulk(sender, ModelHeader(AHEAD), (body,), body.nbytes)]
        return self.peer.on_message(now_s, sender, message)


def test_one_frame_moves_nobody() -> None:
    """It made all drop their round and take the sender's model: the sum was then the victim's."""
    attack = Attack(rounds=AHEAD + 2, liar=Puller)
    attack.hosts[0].records = {
        "round": AHEAD.to_bytes(8, "little"),
        "model": attack.initial,
    }
    attack.run()
    assert attack.refused("unexpected_message") == 7, "each refuses the frame, whatever its round"
    for peer in range(1, 8):
        rounds = [event.round for event in attack.reported(peer, RoundEnded)]
        assert rounds == list(range(AHEAD + 2)), "it left its round for the liar's"
        assert not attack.reported(peer, CaughtUp)
        assert not (attack.peer(peer).vector == EVIL).any()
        # One of eight is missing, and nobody else.
        assert attack.reported(peer, RoundEnded)[1].contributors >= 6


class Finisher(Liar):
    """Says that all rounds are over, and gives a model of its own, with no proof or a false one."""

    way = "no certificate"

    def on_message(self, now_s: float, sender: Any, message: Any) -> Any:
        rounds = self.attack.scenario.rounds
        if isinstance(message, StatusRequest):
            return [Send(sender, Status(rounds))]
        if isinstance(message, ModelRequest):
            body = np.full_like(self.attack.initial, EVIL)
            return [SendBulk(sender, self.header(body), (body,), body.nbytes)]
        return self.peer.on_message(now_s, sender, message)

    def header(self, body: Any) -> ModelHeader:
        rounds = self.attack.scenario.rounds
        match self.way:
            case "no certificate":
                return ModelHeader(rounds)
            case "m signatures":
                return ModelHeader(rounds, forged(self.attack, body, rounds, (0, 1)))
            case "another round's":
                return ModelHeader(rounds, forged(self.attack, body, rounds - 1, tuple(range(6))))
        # All of t: control, and what a body of another digest comes to.
        signed = forged(self.attack, body, rounds, tuple(range(6)))
        if self.way == "another model's":
            signed = forged(self.attack, body + np.float32(1), rounds, tuple(range(6)))
        return ModelHeader(rounds, signed)


def restarted(way: str) -> Attack:
    """All others start anew in round 2 and ask three each; the liar answers those that ask it."""
    liar = type("FinisherBy", (Finisher,), {"way": way})
    attack = Attack(rounds=6, liar=liar)
    for host in attack.hosts[1:]:
        host.records = {
            "incarnation": (3).to_bytes(8, "little"),
            "round": (2).to_bytes(8, "little"),
            "model": attack.initial,
        }
    return attack.run()


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("no certificate", "no_certificate"),
        ("m signatures", "bad_signature"),
        ("another round's", "other_round"),
        ("another model's", None),
    ],
)
def test_a_restarted_peer_believes_no_lone_claim(way: str, reason: str | None) -> None:
    attack = restarted(way)
    if reason is not None:
        assert attack.refused(reason) > 0, "the liar was never asked"
    for peer in range(1, 8):
        assert attack.peer(peer).state is State.FINISHED
        assert not (attack.peer(peer).vector == EVIL).any()


def test_with_the_signatures_of_t_members_it_does() -> None:
    """The control: it is the signatures that the others lack."""
    attack = restarted("t signatures")
    misled = [peer for peer in range(1, 8) if (attack.peer(peer).vector == EVIL).all()]
    assert misled
    assert {it.round for peer in misled for it in attack.reported(peer, CaughtUp)} == {6}


def test_claims_to_be_far_ahead_drop_no_round() -> None:
    class Claims(Liar):
        def on_timer(self, now_s: float, ticket: Any) -> Any:
            said = [Send(other, Status(5)) for other in self.others()]
            return [*said, *self.peer.on_timer(now_s, ticket)]

    attack = Attack(rounds=5, liar=Claims).run()
    for peer in range(1, 8):
        assert not attack.reported(peer, RoundLost)
        assert all(event.contributors >= 6 for event in attack.reported(peer, RoundEnded))


def test_forged_certificates_are_built_right() -> None:
    """Or else the refusals above would be of a test that cannot sign."""
    attack = Attack(rounds=3).run()
    vector = np.full_like(attack.initial, EVIL)
    proofs: Any = attack.peer(1)._averaging
    good = forged(attack, vector, 2, tuple(range(6)))
    proofs.require_certified(good)
    proofs.require_mean_of(good, vector)
    assert msgspec.structs.replace(good, cohort=7) != good


class RecordsAtTheEnd(list[Any]):
    """Notes what a host has kept when it is about to end a round; what follows is not durable."""

    def __init__(self, host: Any, round_: int) -> None:
        super().__init__()
        self.host, self.round_ = host, round_
        self.records: dict[str, Any] = {}

    def __iadd__(self, events: Any) -> Any:  # type: ignore[misc]
        if any(isinstance(it, RoundEnded) and it.round == self.round_ for it in events):
            self.records = dict(self.host.records)
        return super().__iadd__(events)


def test_a_restarted_peer_shows_the_certificate_that_it_kept() -> None:
    """All but one start anew in round 3: the one takes the model that they kept with its proof."""
    before = Attack(rounds=4)
    noted = {host.index: RecordsAtTheEnd(host, 3) for host in before.hosts}
    before.events.update(noted)
    before.run()
    after = Attack(rounds=6)
    for host in after.hosts:
        host.records = noted[host.index].records
        assert host.records["round"] == (3).to_bytes(8, "little")
        assert "certificate" in host.records
    after.hosts[7].records = {
        "incarnation": (1).to_bytes(8, "little"),
        "round": (1).to_bytes(8, "little"),
        "model": after.initial,
    }
    after.run()
    assert after.reported(7, CaughtUp)[0] == CaughtUp(1, 3)
    for peer in range(8):
        assert after.peer(peer).state is State.FINISHED
