"""What a host lets come, and when it gives updates: by calendar, terms, words and operator."""

from pathlib import Path
from typing import Any

import pytest
from consortium import DAY_S, MEMBERS, NOW_S, Member, amended, founded
from test_peers_take_papers import machine_of, parcel_of

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.outlook import Outlook, look_ahead
from p2pfl_gossip.ledger.approvals import Approval, Says
from p2pfl_gossip.ledger.messages import Rest

LIFE_S = 395 * DAY_S
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> CharterFile:
    return founded(tmp_path_factory.mktemp("group"))


def seen(
    present: CharterFile | None, now_s: int = NOW_S, *, own: str = "berlin", **more: Any
) -> Outlook:
    given: dict[str, Any] = {"proposals": [], "first_seen": {}, "task_fault": ""}
    return look_ahead(now_s=now_s, own=own, present=present, **given | more)


def proposed(
    group: CharterFile, file: CharterFile, words: list[Approval], **more: Any
) -> tuple[bytes, Outlook]:
    machine = machine_of(group)
    machine.propose(parcel_of(file.with_words(words)))
    return file.digest, seen(group, proposals=machine.open, **more)


def all_say(file: CharterFile, **more: Any) -> list[Approval]:
    return [member.says(file, **more) for member in MEMBERS]


def test_dates_stop_work_and_amending_goes_on(group: CharterFile) -> None:
    assert seen(group).word.rest is Rest.NONE
    over = seen(group, NOW_S + LIFE_S)
    assert (over.word.rest, over.why.rpartition(":")[0]) == (
        Rest.LAPSED,
        "the charter is over since 2028-02-14 08:00 UTC",
    )
    assert "can still be amended" in over.why
    # A clock that is days off is one member's own affair.
    assert seen(group, NOW_S + LIFE_S - 1).word.rest is Rest.NONE
    renewed = amended(group, until=NOW_S + 2 * LIFE_S)
    digest, told = proposed(group, renewed, all_say(renewed), now_s=NOW_S + LIFE_S + DAY_S)
    assert told.word.rest is Rest.LAPSED
    assert told.word.due == (digest,)


def test_without_texts_or_task_it_rests(group: CharterFile) -> None:
    assert seen(None).word.rest is Rest.TASK
    told = seen(group, task_fault="the task is not approved here")
    assert (told.word.rest, told.why) == (Rest.TASK, "the task is not approved here")


@pytest.mark.parametrize(
    ("document", "own", "rests"),
    [
        (None, "berlin", True),
        ({"until": NOW_S - 1}, "berlin", True),
        ({"until": NOW_S + DAY_S}, "berlin", False),
        ({}, "berlin", False),
        ({"of": "berlin"}, "berlin", False),
        ({"of": "berlin"}, "lyon", True),
    ],
)
def test_a_document_that_is_required_is_there_and_not_over(
    tmp_path: Path, document: dict[str, Any] | None, own: str, *, rests: bool
) -> None:
    documents = [] if document is None else [{"kind": "dpia", "digest": DIGEST, **document}]
    told = seen(founded(tmp_path, require=["dpia"], documents=documents), own=own)
    assert (told.word.rest is Rest.LAPSED) is rests
    assert ("the document dpia" in told.why) is rests


def test_only_what_is_approved_by_words_that_hold_comes(group: CharterFile) -> None:
    file = amended(group, purpose="another")
    words = all_say(file)
    for count in range(1, 6):
        digest, told = proposed(group, file, words[:count])
        assert told.word.due == ((digest,) if count >= 4 else ())
        assert told.waits == ()
    digest, told = proposed(group, file, words[1:4])
    assert told.waits == (digest,)  # Berlin has not said anything.
    # Silence is no consent, and words that are over are silence.
    over = [*words[:3], MEMBERS[3].says(file, until=NOW_S)]
    digest, told = proposed(group, file, over)
    assert (told.word.due, told.word.void) == ((), ())
    digest, told = proposed(group, file, [it.says(file, until=NOW_S) for it in MEMBERS])
    assert told.word.void == (digest,)


def test_what_would_be_over_is_void_and_what_is_too_early_waits(group: CharterFile) -> None:
    file = amended(group, until=NOW_S + DAY_S)
    digest, told = proposed(group, file, all_say(file), now_s=NOW_S + DAY_S)
    assert (told.word.due, told.word.void) == ((), (digest,))
    file = amended(group, purpose="another", not_before=NOW_S + DAY_S)
    digest, told = proposed(group, file, all_say(file))
    assert told.word.due == ()
    assert (told.held or {})[digest] == "it holds only from 2027-01-16 08:00 UTC"
    assert proposed(group, file, all_say(file), now_s=NOW_S + DAY_S)[1].word.due == (digest,)


def test_a_quorum_of_operators_cannot_go_beyond_the_bounds(group: CharterFile) -> None:
    for rate, comes in ((0.5, True), (2.0, False)):
        file = amended(group, training={"learning_rate": rate})
        words = [member.peer_says(file) for member in MEMBERS]
        digest, told = proposed(group, file, words)
        assert told.word.due == ((digest,) if comes else ())
        if not comes:
            assert "goes beyond the bounds" in (told.held or {})[digest]
            assert "may be 0.01 to 1, not 2" in (told.held or {})[digest]


def test_lost_keys_are_replaced_after_notice_unless_one_objects(group: CharterFile) -> None:
    lost = Member("turin", generation="2")
    forms = [*(it.form() for it in MEMBERS[:4]), lost.form()]
    file = amended(group, members=[form.model_dump(exclude_none=True) for form in forms])
    words = [*(it.says(file) for it in MEMBERS[:4]), lost.says(file), lost.peer_says(file)]
    first_seen = {file.digest: NOW_S}
    later = NOW_S + 7 * DAY_S
    digest, told = proposed(group, file, words, first_seen=first_seen, now_s=later - 1)
    assert told.word.due == ()
    assert "turin may object to other keys until 2027-01-22" in (told.held or {})[digest]
    told = proposed(group, file, words, first_seen=first_seen, now_s=later)[1]
    assert told.word.due == (digest,)
    objected = [*words, MEMBERS[4].says(file, Says.OBJECT)]
    told = proposed(group, file, objected, first_seen=first_seen, now_s=later)[1]
    assert told.word.due == ()


def test_a_proposal_whose_texts_are_not_here_waits(group: CharterFile) -> None:
    file = amended(group, purpose="another").with_words([])
    file = file.with_words(all_say(file))
    machine = machine_of(group)
    parcel = parcel_of(file)
    machine.propose(type(parcel)(parcel.charter, b"", b"", parcel.approvals))
    told = seen(group, proposals=machine.open)
    assert told.word.due == ()
    assert (told.held or {})[file.digest] == "its texts are not here yet"
