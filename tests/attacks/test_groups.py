"""Members of a group that lie: nobody is moved by them, nobody is singled out, evidence names them.

Each is one of the ways by which single updates once leaked around a sound masked sum, tried on a
group that keeps a ledger.
"""

from typing import Any

import numpy as np
import pytest
from group_liar import FAR_HEAD, GroupLiar, Say, key_of, signed_advert
from ledger_world import LedgerWorld, first_model
from sampled import sampled

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip import events
from p2pfl_gossip.ledger.certificates import sign
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import VERSION, Entry, Head, Kind, first_entry
from p2pfl_gossip.ledger.messages import (
    EntryCertificate,
    EntrySignature,
    GroupAdvert,
    GroupList,
    Progress,
    entry_statement,
    list_statement,
)
from p2pfl_gossip.ledger.state_messages import StateRequest
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.records import Message, replaced

LIAR = 0


def group_with(say: Say, *, size: int = 7, **charter: Any) -> LedgerWorld:
    """Return a group whose member 0 lies."""
    return LedgerWorld(
        size,
        wrap=lambda index, member: GroupLiar(member, say) if index == LIAR else member,
        **charter,
    )


def honest(group: LedgerWorld) -> list[int]:
    return [host.index for host in group.hosts if host.index != LIAR]


def require_sound(group: LedgerWorld, *, rounds: int) -> None:
    """All honest have one history of so many heights, and none of them was blamed."""
    members = honest(group)
    assert len({group.member(index).history.head.head for index in members}) == 1
    assert len({group.member(index).vector.tobytes() for index in members}) == 1
    assert {group.member(index).round for index in members} == {rounds}
    liar = group.hosts[LIAR].peer_id
    for index in members:
        for event in group.watcher.events[index]:
            if isinstance(event, events.MemberBlamed):
                assert event.member == liar


def test_nobody_follows_a_member_that_says_it_is_far_ahead() -> None:
    def say(_receiver: PeerId, message: Message) -> list[Message]:
        if isinstance(message, GroupAdvert):
            ahead = signed_advert(
                group.epoch, key_of(LIAR), message, round=message.round + 10**6 + 1, head=FAR_HEAD
            )
            return [ahead, message]
        return [message]

    group = group_with(say, rounds=4)
    group.start()
    group.run(300.0)
    require_sound(group, rounds=4)
    assert group.member(1).history.head.head.round < 20


def test_a_certificate_that_too_few_signed_moves_nobody() -> None:
    """A forged model with the liar's own signature t times over."""
    model = first_model(64) + np.float32(100)
    made = digest_state("model", model)

    def forged(group: LedgerWorld) -> EntryCertificate:
        epoch = group.epoch
        first = first_entry(epoch)
        entry = Entry(
            version=VERSION,
            kind=Kind.SUM,
            group=epoch.group,
            epoch=0,
            charter=epoch.digest,
            round=50,
            height=1,
            base=Head(0, 0, first.digest()),
            listed=bytes(32),
            ballot=bytes(32),
            sums=bytes(32),
            members=epoch.pack(range(epoch.size)),
            weight=7.0,
            state=(made.item,),
            next_charter=NONE,
            out=epoch.pack(()),
        )
        signature = sign(key_of(LIAR), LIAR, b"entry", entry.digest())
        signers = epoch.pack(range(epoch.threshold))
        return EntryCertificate(entry, signers, signature * epoch.threshold)

    def say(_receiver: PeerId, message: Message) -> list[Message]:
        return [message, forged(group)] if isinstance(message, GroupAdvert) else [message]

    group = group_with(say, rounds=3)
    group.start()
    group.run(300.0)
    require_sound(group, rounds=3)
    assert any(detail.startswith("bad_signature") for _, _, _, detail in group.watcher.incidents)


def test_two_adverts_of_one_round_are_proof_and_the_liar_is_out() -> None:
    """It shows half of the group another set of keys."""

    def say(receiver: PeerId, message: Message) -> list[Message]:
        rank = group.epoch.rank_of(receiver)
        if isinstance(message, GroupAdvert) and rank is not None and rank % 2:
            return [signed_advert(group.epoch, key_of(LIAR), message, spends=1)]
        return [message]

    group = group_with(say, rounds=8)
    group.start()
    group.run(900.0)
    require_sound(group, rounds=8)
    blamed = [
        event
        for index in honest(group)
        for event in group.watcher.events[index]
        if isinstance(event, events.MemberBlamed)
    ]
    assert {event.fault for event in blamed} == {"two_adverts"}
    out = group.epoch.unpack(group.member(1).history.head.entry.out)
    assert out == (LIAR,)


def test_two_signed_entries_of_one_round_are_proof() -> None:
    def say(receiver: PeerId, message: Message) -> list[Message]:
        rank = group.epoch.rank_of(receiver)
        if isinstance(message, EntrySignature) and rank == 3:
            other = bytes(31) + b"\x01"
            statement = entry_statement(group.epoch, message.round, other)
            signature = sign(key_of(LIAR), LIAR, b"entry", statement)
            return [message, replaced(message, entry=other, signature=signature)]
        return [message]

    group = group_with(say, rounds=6)
    group.start()
    group.run(600.0)
    require_sound(group, rounds=6)
    assert group.epoch.unpack(group.member(1).history.head.entry.out) == (LIAR,)


def test_a_list_that_names_an_advert_which_nobody_has_costs_its_leader_its_turn() -> None:

    def say(_receiver: PeerId, message: Message) -> list[Message]:
        if isinstance(message, GroupList):
            digests = message.digests[:-32] + bytes(32)
            changed = replaced(message, digests=digests)
            statement = list_statement(group.epoch, changed)
            return [changed.signed(sign(key_of(LIAR), LIAR, b"list", statement))]
        return [message]

    group = group_with(say, rounds=5)
    group.start()
    group.run(1500.0)
    require_sound(group, rounds=5)


def test_a_liar_that_only_claims_to_work_costs_less_and_less() -> None:
    """It says so for ever, and never advertises."""

    def say(_receiver: PeerId, message: Message) -> list[Message]:
        if isinstance(message, GroupAdvert):
            return [Progress(message.epoch, message.round)]
        return [message]

    group = group_with(say, rounds=8, patience_s=40.0)
    group.start()
    group.run(1500.0)
    require_sound(group, rounds=8)


@pytest.mark.parametrize(
    "withheld", sampled([EntrySignature, EntryCertificate, GroupList], every=2)
)
def test_a_member_that_withholds_what_it_should_say_stops_nobody(withheld: type) -> None:
    group = group_with(
        lambda _receiver, message: [] if isinstance(message, withheld) else [message], rounds=4
    )
    group.start()
    group.run(1500.0)
    require_sound(group, rounds=4)


def test_nobody_gives_anything_but_certified_models() -> None:
    """Asked for by any digest that a curious member can think of: of its own making, of chunks."""
    asked: list[bytes] = []

    def say(_receiver: PeerId, message: Message) -> list[Message]:
        if isinstance(message, GroupAdvert):
            asked.append(message.mask_key)
            return [message, StateRequest(message.mask_key, 0), StateRequest(bytes(32), 0)]
        return [message]

    group = group_with(say, rounds=3)
    group.start()
    group.run(300.0)
    require_sound(group, rounds=3)
    assert asked
    liar: Any = group.hosts[LIAR].machine
    answers = [type(message).__name__ for _, message in liar.heard]
    assert "StateChunkDigests" not in answers


def test_the_start_believes_no_claim_only_certificates() -> None:
    """A restarted member is told by a liar that the group is far ahead, with a model of its own."""

    def say(_receiver: PeerId, message: Message) -> list[Message]:
        if type(message).__name__ == "HeldOfAsker":
            return [message, Progress(0, 10**6)]
        return [message]

    group = group_with(say, rounds=6)
    world = group.world
    group.start()
    group.run(
        600.0,
        at=[
            (8.0, lambda: world.take_offline(group.hosts[4], "killed", kills=True)),
            (20.0, lambda: world.bring_online(group.hosts[4], "started")),
        ],
    )
    require_sound(group, rounds=6)
