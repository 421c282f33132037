"""Members that would average different things: each side names the first difference, and waits."""

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from one_opening import OURS, SAYS_BEGUN, OneOpening, description_of, ready_message

from p2pfl_gossip import events, wire
from p2pfl_gossip.actions import Command
from p2pfl_gossip.averaging.cohort_averaging import PartHeader
from p2pfl_gossip.catch_up import Status, StatusRequest
from p2pfl_gossip.comparison import DIFFERENCES_MAX, Comparison, DescriptionRequest, Present
from p2pfl_gossip.description import (
    DIMENSIONS_MAX,
    NAME_LENGTH_MAX,
    SOURCES_MAX,
    TENSORS_PER_PAGE,
    Description,
    DescriptionPage,
    Difference,
    Fingerprint,
    Tensor,
    decode_page,
    describe_source,
    describe_tensor,
    encode_page,
    fingerprint,
)
from p2pfl_gossip.opening import Begun, Ready
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import MalformedFrame


def tensors(count: int, **changed: tuple[int, ...]) -> Description:
    """A model of `count` tensors; `t5=(2, 2)` changes the shape of one."""
    return Description(
        tensors=tuple(
            describe_tensor(f"t{place}", changed.get(f"t{place}", (4,)), "float32")
            for place in range(count)
        ),
        start=OURS.start,
        frozen=OURS.frozen,
        sources=OURS.sources,
    )


def difference(ours: Description, theirs: Description) -> Difference | None:
    """Ask for pages until it is known, as members do."""
    first, asked = 0, 0
    while True:
        found = ours.compare(theirs.page(first))
        asked += 1
        if not isinstance(found, int):
            return found
        assert first < found
        assert asked <= -(-len(ours.tensors) // TENSORS_PER_PAGE)
        first = found


# --- what differs -------------------------------------------------------------------------------


WIDE = (
    Description(
        (describe_tensor("0.weight", (16, 8), "bfloat16"), *OURS.tensors[1:]),
        OURS.start,
        OURS.frozen,
        OURS.sources,
    ),
    Difference("layout", "0.weight", "bfloat16 [16, 8]", "[16, 8]"),
)
DIFFERENCES: dict[str, tuple[Description, Difference]] = {
    "shape": (description_of(20), Difference("layout", "0.weight", "[20, 8]", "[16, 8]")),
    "type": WIDE,
    "order": (
        Description(OURS.tensors[::-1], OURS.start, OURS.frozen, OURS.sources),
        Difference("layout", "tensor 1", "2.weight [3, 16]", "0.weight [16, 8]"),
    ),
    "fewer": (
        Description(OURS.tensors[:1], OURS.start, OURS.frozen, OURS.sources),
        Difference("layout", "tensor 2", "missing", "2.weight [3, 16]"),
    ),
    "more": (
        Description(
            (*OURS.tensors, describe_tensor("bias", (3,), "float32")),
            OURS.start,
            OURS.frozen,
            OURS.sources,
        ),
        Difference("layout", "tensor 3", "bias [3]", "missing"),
    ),
    "none": (
        Description((), OURS.start, OURS.frozen, OURS.sources),
        Difference("layout", "tensor 1", "missing", "0.weight [16, 8]"),
    ),
    "start": (description_of(start=0.25), Difference("start")),
    "frozen": (description_of(frozen=2.5), Difference("frozen")),
    "code": (description_of(version="bb22"), Difference("code", "mine.py", "bb22", "aa11")),
    "a file more": (
        Description(
            OURS.tensors,
            OURS.start,
            OURS.frozen,
            (describe_source("layers.py", "cc33"), *OURS.sources),
        ),
        Difference("code", "layers.py", "cc33", "missing"),
    ),
}


@pytest.mark.parametrize(("theirs", "expected"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_the_first_difference_is_named(theirs: Description, expected: Difference) -> None:
    assert theirs.digest != OURS.digest
    assert difference(OURS, theirs) == expected
    other_way = difference(theirs, OURS)
    assert other_way is not None
    assert (other_way.theirs, other_way.ours) == (expected.ours, expected.theirs)


def test_the_same_description_has_the_same_digest_and_no_difference() -> None:
    assert description_of().digest == OURS.digest
    assert OURS.compare(description_of().page(0)) is None


def test_a_page_that_is_not_of_the_digest_that_was_told_is_a_lie() -> None:
    comparison = Comparison(OURS, 0)
    comparison.on_told(1, bytes(32))
    assert comparison.on_page(1, OURS.page(0)) == (Difference("unsaid"), [])
    assert not comparison.is_alike(1)


def test_the_layout_is_told_before_the_start_and_that_before_the_code() -> None:
    theirs = description_of(20, start=1.0, frozen=1.0, version="bb22")
    assert getattr(difference(OURS, theirs), "what", None) == "layout"
    assert getattr(difference(OURS, description_of(start=1.0, version="bb")), "what", 0) == "start"
    frozen = description_of(frozen=1.0, version="bb")
    assert getattr(difference(OURS, frozen), "what", 0) == "frozen"


@pytest.mark.parametrize("place", [0, 63, 64, 65, 127, 128, 199])
def test_a_difference_far_down_a_large_model_is_found_page_by_page(place: int) -> None:
    ours, theirs = tensors(200), tensors(200, **{f"t{place}": (2, 2)})
    assert difference(ours, theirs) == Difference("layout", f"t{place}", "[2, 2]", "[4]")


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (63, 1), (64, 2), (128, 3), (129, 3)])
def test_as_many_pages_are_counted_as_one_may_have_to_see(count: int, pages: int) -> None:
    ours = tensors(count)
    assert ours.page_count == pages
    seen = [ours.page(first) for first in range(0, TENSORS_PER_PAGE * pages, TENSORS_PER_PAGE)]
    assert sum(len(page.tensors) for page in seen) == count
    assert len(seen[-1].tensors) < TENSORS_PER_PAGE, "the last one shows that there are no more"


@pytest.mark.parametrize("count", [63, 64, 65, 128, 129])
def test_a_model_that_goes_on_is_told_from_one_that_ends(count: int) -> None:
    found = difference(tensors(count), tensors(count + 1))
    assert found == Difference("layout", f"tensor {count + 1}", f"t{count} [4]", "missing")
    found = difference(tensors(count + 1), tensors(count))
    assert found == Difference("layout", f"tensor {count + 1}", "missing", f"t{count} [4]")


def test_a_page_that_shows_no_difference_is_a_lie_that_is_told() -> None:
    lie = msgspec.structs.replace(OURS.page(0), layout=bytes(32))
    assert OURS.compare(lie) == Difference("unsaid")
    lie = msgspec.structs.replace(lie, count=2**32 - 1)
    assert OURS.compare(lie) == 2  # What comes there is asked for, and is nothing.
    assert OURS.compare(msgspec.structs.replace(lie, first=2, tensors=())) == Difference("unsaid")
    lie = msgspec.structs.replace(OURS.page(0), code=bytes(32))
    assert OURS.compare(lie) == Difference("code")


# --- rounding -----------------------------------------------------------------------------------


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=5000).astype(np.float32)


def test_a_start_that_differs_in_the_last_bits_is_the_same_start() -> None:
    ours = values(1)
    theirs = np.nextafter(ours, np.float32(9))
    assert fingerprint([ours]).digest != fingerprint([theirs]).digest
    assert fingerprint([ours]).agrees(fingerprint([theirs]))
    assert not fingerprint([ours]).agrees(fingerprint([values(2)]))
    assert not fingerprint([ours]).agrees(fingerprint([ours * np.float32(1.0001)]))
    assert not fingerprint([ours]).agrees(fingerprint([-ours]))
    assert not fingerprint([ours]).agrees(fingerprint([ours[:-1]]))


def test_values_without_a_sum_are_compared_by_digest() -> None:
    masked = np.array([0, -math.inf, 1], np.float32)
    assert fingerprint([masked]).agrees(fingerprint([masked.copy()]))
    assert not fingerprint([masked]).agrees(fingerprint([masked + np.float32(1)]))


def test_how_values_are_split_into_tensors_matters() -> None:
    ours = values(1)
    assert fingerprint([ours[:100], ours[100:]]).digest != fingerprint([ours]).digest
    assert fingerprint([]).agrees(fingerprint([]))
    assert fingerprint([ours[:0]]).sums == (0.0,) * 32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_sums_that_are_not_finite_agree_with_nothing(bad: float) -> None:
    ours = fingerprint([values(1)])
    for name in ("sums", "magnitudes"):
        lie = msgspec.structs.replace(ours, digest=bytes(32), **{name: (bad,) * 32})
        assert not ours.agrees(lie)


# --- what may travel, and reach a log -----------------------------------------------------------


S = OURS.sources[0]


def page(**changed: object) -> DescriptionPage:
    return msgspec.structs.replace(OURS.page(0), **changed)


OUT_OF_BOUNDS: dict[str, Callable[[], DescriptionPage]] = {
    "a line break in a name": lambda: page(tensors=(Tensor("a\nb", (1,), "float32"),)),
    "a break at the end of a name": lambda: page(tensors=(Tensor("a\n", (1,), "float32"),)),
    "an escape in a name": lambda: page(tensors=(Tensor("\x1b[2J", (1,), "float32"),)),
    "a long name": lambda: page(tensors=(Tensor("a" * (NAME_LENGTH_MAX + 1), (1,), "f"),)),
    "no name": lambda: page(tensors=(Tensor("", (1,), "float32"),)),
    "a type with blanks": lambda: page(tensors=(Tensor("a", (1,), "float 32"),)),
    "many dimensions": lambda: page(tensors=(Tensor("a", (1,) * (DIMENSIONS_MAX + 1), "f"),)),
    "a negative shape": lambda: page(tensors=(Tensor("a", (-1,), "float32"),)),
    "many tensors": lambda: page(tensors=OURS.tensors[:1] * (TENSORS_PER_PAGE + 1)),
    "many sources": lambda: page(sources=OURS.sources * (SOURCES_MAX + 1)),
    "a version with quotes": lambda: page(sources=(msgspec.structs.replace(S, version="a'b"),)),
    "few sums": lambda: page(start=Fingerprint(bytes(32), (0.0,) * 31, (0.0,) * 32)),
    "a short digest": lambda: page(code=bytes(31)),
}


@pytest.mark.parametrize("make", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_a_page_out_of_bounds_is_no_message(make: Callable[[], DescriptionPage]) -> None:
    with pytest.raises(MalformedFrame):
        wire.decode_untrusted(wire.encode(make()))


def test_the_largest_page_fits_a_frame() -> None:
    name = "n" * NAME_LENGTH_MAX
    largest = page(
        tensors=(Tensor(name, (2**63 - 1,) * DIMENSIONS_MAX, name),) * TENSORS_PER_PAGE,
        sources=(msgspec.structs.replace(S, name=name, version=name),) * SOURCES_MAX,
    )
    assert wire.decode_untrusted(wire.encode(largest)) == largest


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("layers.0.weight", "layers.0.weight"),
        ("a" * NAME_LENGTH_MAX, "a" * NAME_LENGTH_MAX),
        ("a\nb", "a?b~"),
        ("ß", "?~"),
        ("a" * 500, "a" * (NAME_LENGTH_MAX - 9) + "~"),
        ("", "~"),
    ],
)
def test_our_own_odd_names_are_made_fit_to_travel(name: str, shown: str) -> None:
    tensor = describe_tensor(name, (2,), "float32")
    assert tensor.name.startswith(shown)
    assert tensor.name == describe_tensor(name, (2,), "float32").name
    ours = Description((tensor,), OURS.start, OURS.frozen, OURS.sources)
    assert wire.decode_untrusted(wire.encode(ours.page(0))) == ours.page(0)


def test_odd_names_and_shapes_are_still_told_apart() -> None:
    assert describe_tensor("a\n", (2,), "f") != describe_tensor("a\t", (2,), "f")
    long = (1,) * DIMENSIONS_MAX
    assert describe_tensor("a", (*long, 2), "f") != describe_tensor("a", (*long, 3), "f")


def test_a_page_is_kept_and_read_again() -> None:
    assert decode_page(encode_page(OURS.page(0))) == OURS.page(0)
    with pytest.raises(MalformedFrame):
        decode_page(b"\x93\x07")


# --- whom to ask --------------------------------------------------------------------------------


def test_a_few_members_are_asked_and_the_others_counted() -> None:
    comparison = Comparison(OURS, 0)
    theirs = description_of(20)
    asked = [comparison.on_told(member, theirs.digest) for member in range(1, 40)]
    assert [len(requests) for requests in asked] == [1] * DIFFERENCES_MAX + [0] * (
        39 - DIFFERENCES_MAX
    )
    assert len(comparison.differing) == 39
    for member in range(1, 9):
        found, requests = comparison.on_page(member, theirs.page(0))
        assert found is not None
        assert requests == []
    assert comparison.ask_again() == []  # Eight are named.


def test_who_differs_by_rounding_alone_takes_nobodys_place() -> None:
    theirs = description_of(start=float(np.nextafter(np.float32(0.5), np.float32(1))))
    comparison = Comparison(OURS, 0)
    for member in range(1, 40):
        comparison.on_told(member, theirs.digest)
    for member in range(1, 40):
        found, requests = comparison.on_page(member, theirs.page(0))
        assert found is None
        assert requests == [(member + 8, DescriptionRequest(0))] * (member + 8 < 40)
    assert comparison.differing == {}
    assert all(comparison.is_alike(member) for member in range(40))


def test_a_page_that_nobody_waits_for_changes_nothing() -> None:
    comparison = Comparison(OURS, 0)
    assert comparison.on_page(1, description_of(20).page(0)) == (None, [])
    comparison.on_told(1, description_of(20).digest)
    assert comparison.on_page(1, description_of(20).page(64)) == (None, [])
    assert comparison.differing == {1: None}
    assert not comparison.is_alike(1)


# --- the opening --------------------------------------------------------------------------------

THEIRS = description_of(20)


def started(*alike: int, **options: int) -> OneOpening:
    """Member 0 with a public seed; `alike` have said that they are ready, with what it has."""
    one = OneOpening(**options)
    one.start()
    for member in alike:
        one.message(member, ready_message(asks=False))
    one.told()
    return one


def test_a_member_that_differs_is_named_and_no_round_begins() -> None:
    one = started(1, 2)
    one.message(3, Ready(asks=True, description=THEIRS.digest))
    assert one.told() == [(3, DescriptionRequest(0)), (3, ready_message(asks=False))]
    assert one.machine.state == "opening: 1 of 4 members differ from this one"
    one.message(3, THEIRS.page(0))
    told = events.MemberDiffers(one.roster.peers[3], "layout", "0.weight", "[20, 8]", "[16, 8]")
    assert one.reported(events.MemberDiffers) == [told]
    for _ in range(3):
        one.timer()
        one.message(3, Ready(asks=True, description=THEIRS.digest))
    assert one.machine.peer is None
    assert one.reported(events.MemberDiffers) == [told]
    assert one.reported(events.OpeningWaits) == []  # Who differs is not only late.


def test_whoever_asks_is_shown_our_description() -> None:
    one = started()
    one.message(3, DescriptionRequest(0))
    one.message(3, DescriptionRequest(64))
    assert one.told() == [(3, OURS.page(0)), (3, OURS.page(64))]


def test_a_member_that_comes_back_with_what_we_have_opens_the_group() -> None:
    one = started(1, 2)
    one.message(3, Ready(asks=True, description=THEIRS.digest))
    one.message(3, THEIRS.page(0))
    one.message(3, ready_message(asks=False))
    assert one.machine.state is State.TRAINING
    assert one.reported(events.MemberAgrees) == [events.MemberAgrees(one.roster.peers[3])]


def test_a_member_that_was_ready_and_comes_back_with_another_model_is_not() -> None:
    one = started(1, 2)
    one.message(2, Present(THEIRS.digest))
    one.message(3, ready_message(asks=False))
    assert one.machine.peer is None
    one.message(2, ready_message(asks=False))
    assert one.machine.state is State.TRAINING


def test_rounding_is_no_difference() -> None:
    theirs = description_of(start=float(np.nextafter(np.float32(0.5), np.float32(1))))
    one = started(1, 2)
    one.message(3, Ready(asks=False, description=theirs.digest))
    assert one.machine.peer is None
    one.told()
    one.message(3, theirs.page(0))
    assert one.told() == [(3, ready_message(asks=True))]  # What it said did not count.
    one.message(3, Ready(asks=False, description=theirs.digest))
    assert one.machine.state is State.TRAINING
    assert one.reported(events.MemberDiffers) == []


def test_a_frame_of_one_that_told_nothing_does_not_count_and_is_asked_about() -> None:
    one = started()
    one.message(1, Status(0))
    one.message(1, Status(0))
    assert one.told() == [(1, ready_message(asks=True))]
    assert one.machine.peer is None
    one.message(1, SAYS_BEGUN)
    assert one.machine.state is State.TRAINING


def test_one_that_differs_makes_nobody_begin() -> None:
    one = started(1, 2)
    one.message(3, Begun(THEIRS.digest))
    assert one.told() == [(3, DescriptionRequest(0))]
    one.message(3, StatusRequest())
    assert one.told() == []
    assert one.begin(3, PartHeader(0, 1.0)) is None
    assert one.machine.peer is None


def test_where_one_differs_a_liar_alone_makes_nobody_begin() -> None:
    one = started(peers=7, length=7)
    one.message(6, Present(THEIRS.digest))
    one.message(1, SAYS_BEGUN)
    one.message(2, SAYS_BEGUN)
    assert one.machine.peer is None  # Of seven, two may lie.
    one.message(2, Present(THEIRS.digest))  # Now its word counts for nothing.
    one.message(3, SAYS_BEGUN)
    assert one.machine.peer is None
    one.message(4, SAYS_BEGUN)
    assert one.machine.state is State.TRAINING


def test_an_open_group_takes_nothing_of_a_member_that_came_back_with_another_model() -> None:
    one = started(1, 2, 3)
    assert one.machine.state is State.TRAINING
    one.told()
    one.message(3, StatusRequest())
    assert one.told() == [(3, Status(0))]
    one.message(3, Ready(asks=True, description=THEIRS.digest))
    assert one.told() == [(3, DescriptionRequest(0)), (3, SAYS_BEGUN)]
    one.message(3, THEIRS.page(0))
    assert len(one.reported(events.MemberDiffers)) == 1
    one.message(3, StatusRequest())
    assert one.told() == []
    assert one.begin(3, PartHeader(0, 1.0)) is None
    one.message(3, Present(OURS.digest))
    one.told()
    one.message(3, StatusRequest())
    assert one.told() == [(3, Status(0))]


def test_who_has_left_compares_nothing() -> None:
    one = started()
    one.command(Command.LEAVE)
    one.message(1, DescriptionRequest(0))
    one.message(1, Present(THEIRS.digest))
    one.up(1)
    assert one.told() == []
