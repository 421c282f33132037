"""A message that is none of a machine's own is refused by it, whatever it is."""

from typing import Any

import pytest
from forging import all_messages
from ledger_forgeries import RIGS as LEDGER_RIGS
from peer_forgeries import LENGTH, PEERS, RIGS, AnyPeer
from session_driver import PATIENCE, identities, seeded_entropy
from session_forgeries import PLACES, is_of_audit, pristine

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader, AgeGossip
from p2pfl_gossip.averaging.alone import Alone
from p2pfl_gossip.averaging.base import Averaging
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging, MeanHeader, PartHeader
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.fedavg import FedAvgClient, FedAvgServer, GlobalModelHeader
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import PushSum, RunningSumHeader
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.messages import LedgerMessage
from p2pfl_gossip.masked_sum.certificate import Certificate
from p2pfl_gossip.masked_sum.messages import SessionMessage
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Ring

KINDS = all_messages()


def sample(kind: type[Message]) -> Any:
    """A good message of a kind."""
    if issubclass(kind, SessionMessage):
        return pristine(kind, of_group=is_of_audit(kind)).message
    if issubclass(kind, LedgerMessage):
        return LEDGER_RIGS[kind]().message
    return RIGS[kind]().message


def masked_cohorts() -> MaskedCohorts:
    people = identities(5)
    return MaskedCohorts(
        index=0,
        roster=Roster(person.peer_id for person in people),
        identity=people[0],
        group=b"test",
        length=LENGTH,
        cohort_of=lambda _round, _member: (0, 1, 2, 3, 4),
        clip=1.0,
        weight_max=1.0,
        patience=PATIENCE,
        entropy=seeded_entropy("test"),
        desk=Desk(),
    )


def in_the_open(kind: type[Averaging], index: int = 0, **options: Any) -> Averaging:
    one = AnyPeer(kind, index, **options)
    return one.peer._averaging


everybody = tuple(range(PEERS))
MACHINES: dict[str, tuple[Any, tuple[type[Message], ...]]] = {
    "alone": (Alone, ()),
    "cohorts": (
        lambda: in_the_open(CohortAveraging, members_of=lambda _round: everybody),
        (PartHeader, MeanHeader),
    ),
    "dsgd": (lambda: in_the_open(Dsgd, topology=Ring(PEERS)), (VectorHeader,)),
    "push-sum": (lambda: in_the_open(PushSum, topology=Ring(PEERS)), (RunningSumHeader,)),
    "age-gossip": (lambda: in_the_open(AgeGossip, fanout=1, seed=b""), (AgedModelHeader,)),
    "fedavg server": (lambda: in_the_open(FedAvgServer), (VectorHeader,)),
    "fedavg client": (lambda: in_the_open(FedAvgClient, 3), (GlobalModelHeader,)),
    "masked cohorts": (masked_cohorts, (SessionMessage,)),
}
"""How each averaging machine is made, and what it takes."""


def refused(do: Any) -> str:
    with pytest.raises(RemoteProtocolError) as error:
        do()
    return error.value.reason


@pytest.mark.parametrize("name", MACHINES)
def test_an_averaging_machine_takes_no_message_of_another(name: str) -> None:
    make, own = MACHINES[name]
    machine: Averaging = make()
    others = [kind for kind in KINDS.values() if not issubclass(kind, own)]
    assert others
    for kind in others:
        message = sample(kind)
        for do in (
            lambda message=message: machine.body_bytes(1, message),
            lambda message=message: machine.on_message(0.0, 1, message),
        ):
            assert refused(do) == "unexpected_message", kind


def test_masked_cohorts_know_no_round_of_what_is_none_of_theirs() -> None:
    machine = masked_cohorts()
    for kind in KINDS.values():
        if not issubclass(kind, SessionMessage):
            message = sample(kind)
            assert refused(lambda message=message: machine.round_of(message, 0)) == (
                "unexpected_message"
            )


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind not in PLACES])
def test_a_session_takes_no_message_that_is_none_of_its_own(name: str) -> None:
    stage = pristine(next(iter(PLACES)))
    peer, message = stage.cohort.members[stage.sender], sample(KINDS[name])
    machine = stage.machine
    assert refused(lambda: machine.on_message(stage.now_s, peer, message)) == "unexpected_message"
    assert refused(lambda: machine.body_bytes(stage.now_s, peer, message)) == "unexpected_message"


def test_a_certificate_of_a_member_that_there_is_not_is_refused() -> None:
    certificate = Certificate(0, 5, b"\x1f", bytes(32), b"\x0f", bytes(4 * 64))
    assert refused(lambda: masked_cohorts().require_certified(certificate)) == "no_such_member"
