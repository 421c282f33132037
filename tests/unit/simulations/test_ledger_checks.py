"""What the checkers of a ledger must see: each fault by itself, as a few actions."""

from typing import Any

import numpy as np
import pytest
from ledger_world import first_model, identity_of, make_charter

from p2pfl_gossip.actions import Persist, Report, Send, Vector
from p2pfl_gossip.events import Finished, RoundEnded
from p2pfl_gossip.ledger.certificates import sign
from p2pfl_gossip.ledger.charter import NONE, Epoch
from p2pfl_gossip.ledger.entries import EntryStep, Head, Kind, first_entry
from p2pfl_gossip.ledger.messages import (
    EntrySignature,
    GroupAdvert,
    GroupList,
    Progress,
    Rest,
    entry_statement,
    head_statement,
)
from p2pfl_gossip.ledger.standing import (
    STANDING_RECORD,
    SignedEntry,
    StandingRecord,
    model_key,
)
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.records import Codec, replaced
from p2pfl_simulations.checkers.base import Violation, Watched
from p2pfl_simulations.checkers.beginnings import BeginsAsSaid
from p2pfl_simulations.checkers.ledger import Certifies, OneHistory, SaysOnce

SIZE = 5
STANDING = Codec(StandingRecord | None, frame_bytes_max=2**18)
EPOCH = Epoch.founded(make_charter(range(SIZE)))
FIRST = EntryStep(first_entry(EPOCH))


def watched() -> Watched:
    return Watched(
        peers=[identity_of(index).peer_id for index in range(SIZE)],
        liars=frozenset({4}),
        initial=first_model(64),
        rounds=3,
        has_cohorts=False,
        hides_models=True,
        partners_of=lambda _index, _round: (),
        is_group=True,
    )


def advert(index: int, round_: int, head: Head, rest: Rest = Rest.NONE, key: int = 1) -> Send:
    said = GroupAdvert(
        epoch=0,
        round=round_,
        member=index,
        head=head,
        head_signature=sign(
            identity_of(index), index, b"head", head_statement(EPOCH, round_, head)
        ),
        charter=NONE,
        rest=rest,
        spends=0,
        named=(),
        share_key=bytes([key]) * 31 + b"\0",
        mask_key=bytes(32),
        signature=bytes(64),
    )
    said = said.signed(sign(identity_of(index), index, b"advert", said.digest(EPOCH)))
    return Send(identity_of(4).peer_id, said)


def model_of(number: int) -> Vector:
    return np.full(64, number, np.float32)


def entry(round_: int, base: EntryStep, number: int = 0) -> EntryStep:
    """An entry of a round, whose model is of a number."""
    return EntryStep(
        replaced(
            first_entry(EPOCH),
            kind=Kind.SUM,
            round=round_,
            height=base.entry.height + 1,
            base=base.head,
            state=(digest_state("model", model_of(number)).item,),
            weight=5.0,
        )
    )


def signature(index: int, step: EntryStep) -> EntrySignature:
    round_, name = step.entry.round, step.head.entry
    signed = sign(identity_of(index), index, b"entry", entry_statement(EPOCH, round_, name))
    return EntrySignature(0, round_, index, name, signed)


def raised(index: int, step: EntryStep, number: int = 0) -> Persist:
    """What a member keeps whose head an entry is now."""
    record = StandingRecord(
        head=step.head,
        model=step.entry.state[0].digest,
        signed=(SignedEntry(step.entry, signature(index, step)),),
    )
    kept: dict[str, Any] = {STANDING_RECORD: STANDING.encode(record)}
    kept[model_key(step.entry.state[0].digest)] = model_of(number)
    return Persist(kept)


def tell(checker: Any, *said: tuple[int, Any]) -> None:
    checker.start(watched())
    for host, action in said:
        checker.on_action(1.0, host, action)


ONE, OTHER = entry(1, FIRST, 1), entry(1, FIRST, 2)


def below_its_beginning(*said: tuple[int, Any]) -> None:
    """Member 1 knows that epoch 0 begins with an entry of round 1."""
    checker = BeginsAsSaid()
    checker.start(watched())
    checker._begun[1, 0] = ONE.head.place
    for host, action in said:
        checker.on_action(1.0, host, action)


SAID_BELOW: dict[str, Any] = {
    "GroupAdvert": advert(1, 3, FIRST.head),
    "EntrySignature": Send(identity_of(2).peer_id, signature(1, ONE)),
    "GroupList": Send(
        identity_of(2).peer_id, GroupList(0, 3, 0, Kind.SUM, b"\x1f", bytes(160), bytes(64))
    ),
    "Progress": Send(identity_of(2).peer_id, Progress(0, 3)),
}


@pytest.mark.parametrize("kind", SAID_BELOW)
def test_who_says_anything_below_its_epochs_beginning_is_seen(kind: str) -> None:
    with pytest.raises(Violation, match=rf"peer 1 says {kind} .* not \(0, 1\) or above"):
        below_its_beginning((1, SAID_BELOW[kind]))


def test_who_is_where_its_epoch_begins_may_say_all() -> None:
    at_it = [(1, said) for kind, said in SAID_BELOW.items() if kind != "GroupAdvert"]
    below_its_beginning((1, raised(1, ONE)), *at_it, (1, advert(1, 3, ONE.head)))
    passed_on = Send(identity_of(2).peer_id, signature(3, ONE))
    below_its_beginning((1, passed_on), (2, SAID_BELOW["Progress"]))
    older = Persist({STANDING_RECORD: STANDING.encode(StandingRecord())})
    with pytest.raises(Violation, match="says Progress"):
        below_its_beginning((1, raised(1, ONE)), (1, older), (1, SAID_BELOW["Progress"]))


def test_what_honest_members_say_once_is_right() -> None:
    again = advert(1, 2, ONE.head)
    tell(
        SaysOnce(),
        (1, advert(1, 1, FIRST.head)),
        (2, Send(identity_of(3).peer_id, advert(1, 1, FIRST.head).message)),  # Passed on.
        (1, again),
        (1, again),
        (4, advert(4, 1, FIRST.head)),
        (4, advert(4, 1, FIRST.head, key=2)),  # A liar.
    )


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([advert(1, 1, FIRST.head), advert(1, 1, FIRST.head, key=2)], "advertises twice"),
        ([advert(1, 2, FIRST.head), advert(1, 1, FIRST.head)], "for round 1 after 2"),
        ([advert(1, 2, ONE.head), advert(1, 3, FIRST.head)], "names the head of round 0 after"),
        (
            [
                Send(identity_of(2).peer_id, signature(1, ONE)),
                Send(identity_of(2).peer_id, signature(1, OTHER)),
            ],
            "signs two entries of round 1",
        ),
    ],
)
def test_two_sayings_of_an_honest_member_are_found(said: list[Send], what: str) -> None:
    with pytest.raises(Violation, match=what):
        tell(SaysOnce(), *((1, action) for action in said))


def test_who_has_an_older_copy_of_its_journal_may_say_so() -> None:
    resting = advert(1, 3, FIRST.head, Rest.START)
    tell(SaysOnce(), (1, advert(1, 2, ONE.head)), (1, resting))


@pytest.mark.parametrize("holders", [1, 2])
@pytest.mark.parametrize("stored", ["nothing", "all"])
def test_what_a_backup_lacks_must_be_heard_of_from_those_who_hold_it(
    holders: int, stored: str
) -> None:
    """Whoever asks t - 1 of four others may miss one, and not two."""
    first, second = advert(1, 1, FIRST.head), advert(1, 1, FIRST.head, key=2)
    one, other = signature(1, ONE), signature(1, OTHER)
    for before, after in (
        (first, second),
        (Send(first.receiver, one), Send(first.receiver, other)),
    ):
        checker = SaysOnce()
        tell(checker, (1, first), (1, before))
        for host in (2, 3, 0)[: holders + 1]:
            checker.on_input(1.0, host, "on_message", (identity_of(1).peer_id, before.message))
        checker.on_crash(1.0, (2, 3, 0)[holders])  # It has forgotten.
        assert isinstance(first.message, GroupAdvert)
        record = StandingRecord(advert=first.message)
        kept = {STANDING_RECORD: STANDING.encode(record)} if stored == "all" else {}
        checker.on_input(2.0, 1, "on_start", (kept,))
        if holders == 1 and stored == "nothing":
            checker.on_action(3.0, 1, after)
            checker.on_action(3.0, 1, after)
        # In this life its journal has what was said in it.
        again = before if holders == 1 and stored == "nothing" else after
        with pytest.raises(Violation, match=r"advertises twice|signs two entries"):
            checker.on_action(4.0, 1, again)


def test_two_certified_entries_of_a_round_are_found() -> None:
    with pytest.raises(Violation, match="peers 0 and 1 hold two certified entries of round 1"):
        tell(OneHistory(), (0, raised(0, ONE, 1)), (1, raised(1, OTHER, 2)))


def test_a_history_without_a_final_entry_is_found() -> None:
    final = [(host, advert(host, 2, ONE.head)) for host in range(4)]
    beside = entry(3, FIRST, 3)
    with pytest.raises(Violation, match="round 3 does not descend from the final one of round 1"):
        tell(OneHistory(), (0, raised(0, ONE, 1)), *final, (1, raised(1, beside, 3)))
    with pytest.raises(Violation, match="round 3 does not descend from the final one of round 1"):
        tell(OneHistory(), (0, raised(0, ONE, 1)), (1, raised(1, beside, 3)), *final)
    # What three of five name is not final, and may be given up.
    tell(OneHistory(), (0, raised(0, ONE, 1)), *final[:3], (1, raised(1, beside, 3)))


def test_a_head_that_falls_and_a_model_of_another_are_found() -> None:
    two = entry(2, ONE, 2)
    with pytest.raises(Violation, match="peer 0 goes back from round 2 to 1"):
        tell(OneHistory(), (0, raised(0, two, 2)), (0, raised(0, ONE, 1)))
    with pytest.raises(Violation, match="keeps a model under another's digest"):
        tell(OneHistory(), (0, raised(0, ONE, 7)))
    ended = Report(RoundEnded(0, model_of(7), SIZE, SIZE, complete=True))
    with pytest.raises(Violation, match="ends round 1 with a model not certified"):
        tell(OneHistory(), (0, raised(0, ONE, 1)), (0, ended))


def test_members_that_finish_apart_are_found() -> None:
    far = entry(2, FIRST, 2)
    done = Report(Finished(3))
    with pytest.raises(Violation, match="does not descend"):
        tell(
            OneHistory(),
            (0, raised(0, ONE, 1)),
            (0, done),
            (1, raised(1, far, 2)),
            (1, done),
        )


def test_rounds_without_a_certificate_are_counted_once_nothing_goes_wrong() -> None:
    checker = Certifies(2)
    tell(checker, *((0, advert(0, round_, FIRST.head)) for round_ in range(1, 9)))
    checker.begin()
    checker.on_action(2.0, 0, advert(0, 10, FIRST.head))
    with pytest.raises(Violation, match="nothing is certified after round 8"):
        checker.on_action(3.0, 0, advert(0, 11, FIRST.head))
    checker.on_action(3.0, 1, raised(1, entry(9, FIRST, 3), 3))
    checker.on_action(3.0, 0, advert(0, 11, FIRST.head))
