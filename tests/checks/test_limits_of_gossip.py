"""Each named limit of gossip beside masked sums: what reaches it passes, one more is refused."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from one_opening import OURS, OneOpening
from one_peer import DEADLINE_S, OnePeer
from session_driver import PATIENCE, identities, seeded_entropy

from p2pfl_gossip import cohorts, draw_risk, draws, opening, wire
from p2pfl_gossip.actions import PeerId, RemoteProtocolError, SendBulk
from p2pfl_gossip.averaging import base, masked_cohorts, push_sum
from p2pfl_gossip.averaging.age_gossip import AGE_MAX, AgedModelHeader, AgeGossip
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.comparison import DescriptionRequest
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.cohort import Cohort
from p2pfl_gossip.masked_sum.messages import Held
from p2pfl_gossip.records import MalformedFrame, Message
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Ring

ROSTER = Roster(PeerId(f"peer-{index}") for index in range(5))


def refused(reason: str, do: Callable[[], Any]) -> None:
    with pytest.raises(RemoteProtocolError) as error:
        do()
    assert error.value.reason == reason


@pytest.mark.parametrize("sign", [1, -1])
def test_entries_of_a_model_that_arrives(sign: int) -> None:
    most = np.float64(sign * base.ENTRY_MAX)
    base.check_entries(np.array([0, most]))
    beyond = np.array([0, np.nextafter(most, sign * math.inf)])
    refused("entry_out_of_range", lambda: base.check_entries(beyond))


def test_weight_of_a_model_that_arrives() -> None:
    base.check_weight(base.WEIGHT_MAX)
    beyond = math.nextafter(base.WEIGHT_MAX, math.inf)
    refused("weight_out_of_range", lambda: base.check_weight(beyond))


def test_age_of_a_model_that_arrives() -> None:
    machine = AgeGossip(index=0, roster=ROSTER, length=2, dtype=np.float32, fanout=1, seed=b"")
    assert machine.body_bytes(1, AgedModelHeader(AGE_MAX)) == 8
    beyond = AgedModelHeader(math.nextafter(AGE_MAX, math.inf))
    refused("age_out_of_range", lambda: machine.body_bytes(1, beyond))


def decodes(message: Message) -> bool:
    try:
        wire.decode_untrusted(wire.encode(message))
    except (ValueError, MalformedFrame):
        return False
    return True


def test_bitmap_of_a_cohort_of_plain_means() -> None:
    longest = base.COHORT_SIZE_MAX // 8
    assert decodes(MeanHeader(0, b"\1" * longest))
    assert not decodes(MeanHeader(0, b"\1" * (longest + 1)))


def test_the_least_mass_that_a_peer_gives_away() -> None:
    def sent(weight: float) -> int:
        machine = push_sum.PushSum(
            topology=Ring(5),
            index=0,
            roster=ROSTER,
            length=2,
            dtype=np.float32,
            deadline_s=1.0,
            desk=Desk(),
        )
        actions = machine.begin(0.0, 0, np.ones(2, np.float32), weight)
        return sum(isinstance(action, SendBulk) for action in actions)

    assert sent(push_sum.MASS_WEIGHT_MIN) == 2
    assert sent(math.nextafter(push_sum.MASS_WEIGHT_MIN, 0)) == 0


def test_side_of_a_grid() -> None:
    size = 5
    longest = cohorts.SIDE_FACTOR_MAX * size
    assert cohorts.grid_sides(longest, size) == (longest,)
    with pytest.raises(cohorts.CohortError, match="11 peers make no grid"):
        cohorts.grid_sides(longest + 1, size)


def test_odds_up_to_which_malice_is_claimed_to_be_borne() -> None:
    def claim(exceeded: float) -> str:
        return draw_risk.DrawRisk(1, 1, 1, exceeded, 0.0).claim

    assert claim(draw_risk.MALICIOUS_MAX) == "against malicious members"
    beyond = math.nextafter(draw_risk.MALICIOUS_MAX, 1)
    assert claim(beyond) == "against curious members"


def test_bytes_of_a_draws_purpose() -> None:
    assert len(draws.draw_words(b"", b"x" * draws.PURPOSE_BYTES_MAX, count=1)) == 1
    with pytest.raises(ValueError, match="a purpose has 1 to 255 bytes, not 256"):
        draws.draw_words(b"", b"x" * (draws.PURPOSE_BYTES_MAX + 1), count=1)


def test_messages_for_a_session_that_is_not_begun() -> None:
    people = identities(5)
    roster = Roster(person.peer_id for person in people)
    machine = masked_cohorts.MaskedCohorts(
        index=0,
        roster=roster,
        identity=people[0],
        group=b"test",
        length=4,
        cohort_of=lambda _round, _member: (0, 1, 2, 3, 4),
        clip=1.0,
        weight_max=1.0,
        patience=PATIENCE,
        entropy=seeded_entropy("test"),
        desk=Desk(),
    )
    cohort: Cohort = machine._cohort(0)
    said = [
        Held(cohort.session, number.to_bytes(32, "little"), b"\1")
        for number in range(masked_cohorts.EARLY_MESSAGES_MAX + 1)
    ]
    for message in said[:-1]:
        assert machine.on_message(0.0, 1, message) == []
    assert machine.on_message(0.0, 1, said[0]) == []  # Said again, it takes no room.
    assert machine.on_message(0.0, 1, said[-1]) == []  # It is passed over.
    assert machine.on_message(0.0, 2, said[-1]) == []  # Each member has its own.
    assert machine._early == {0: {1: said[:-1], 2: said[-1:]}}


def test_rounds_that_a_partner_may_be_ahead() -> None:
    """A body of the last round ahead is taken; one of the next shows that we are behind."""
    one = OnePeer(rounds=50).start()
    assert one.begin(1, PartHeader(base.LOOKAHEAD_ROUNDS, 1.0)) is not None
    assert one.begin(1, PartHeader(base.LOOKAHEAD_ROUNDS + 1, 1.0)) is None


def test_askings_of_one_member_that_are_answered() -> None:
    request, answer = DescriptionRequest(0), OURS.page(0)
    one = OneOpening().start()
    one.sent.clear()

    def ask(member: int, times: int) -> list[tuple[int, Message]]:
        for _ in range(times):
            one.message(member, request)
        sent, one.sent = one.sent, []
        return sent

    assert ask(1, opening.ASKINGS_MAX + 1) == [(1, answer)] * opening.ASKINGS_MAX
    assert ask(2, 1) == [(2, answer)], "one member's askings are none of another's"
    one.now_s = DEADLINE_S / 2
    assert ask(1, 1) == []
    one.now_s = DEADLINE_S
    assert ask(1, opening.ASKINGS_MAX + 1) == [(1, answer)] * opening.ASKINGS_MAX
