"""Each way to forge, repeat, delay or relay each message of a masked sum has one known result.

The ways follow from the messages' definitions: a new message, or a new field, fails here until
`session_forgeries.toml` says what must come of each of its rows.
"""

import tomllib
from pathlib import Path

import msgspec
import pytest
from forging import all_messages
from session_forgeries import (
    PLACES,
    cases,
    is_of_audit,
    is_of_group,
    pristine,
    what_comes_of,
)

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.messages import Ack, SessionMessage

TABLE: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("session_forgeries.toml").read_text()
)
OF_GROUP: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("group_session_forgeries.toml").read_text()
)
ALL = {name: kind for name, kind in all_messages().items() if issubclass(kind, SessionMessage)}
KINDS = {name: kind for name, kind in ALL.items() if not is_of_audit(kind)}


def test_every_message_of_a_masked_sum_has_a_table() -> None:
    assert sorted(TABLE) == sorted(KINDS)
    assert sorted(kind.__name__ for kind in PLACES) == sorted(ALL)


@pytest.mark.parametrize("name", KINDS)
def test_every_way_to_forge_a_message_has_its_row(name: str) -> None:
    kind = KINDS[name]
    assert issubclass(kind, SessionMessage)
    assert list(TABLE[name]) == list(cases(kind))


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}: {case}")
        for name, rows in TABLE.items()
        for case in rows
    ],
)
def test_what_comes_of_a_forged_message(name: str, case: str) -> None:
    kind = KINDS[name]
    assert issubclass(kind, SessionMessage)
    make = cases(kind)[case]
    assert what_comes_of(kind, make(pristine(kind))) == TABLE[name][case]


def test_a_groups_session_has_a_table_of_all_that_it_takes() -> None:
    own = {name: kind for name, kind in ALL.items() if is_of_group(kind)}
    assert sorted(OF_GROUP) == sorted(own)
    for name, kind in own.items():
        assert list(OF_GROUP[name]) == list(cases(kind, of_group=True))


@pytest.mark.parametrize("name", [name for name, kind in ALL.items() if is_of_audit(kind)])
def test_a_session_that_is_not_audited_takes_no_message_of_an_audit(name: str) -> None:
    stage = pristine(Ack, of_group=True)
    message = pristine(ALL[name], of_group=True).message
    author = stage.cohort.members[stage.sender]
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        stage.machine.on_message(stage.now_s, author, message)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not is_of_group(kind)])
def test_a_groups_session_takes_no_message_of_a_cohorts_alone(name: str) -> None:
    stage = pristine(Ack, of_group=True)
    message = msgspec.structs.replace(pristine(KINDS[name]).message, session=stage.cohort.session)
    author = stage.cohort.members[stage.sender]
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        stage.machine.on_message(stage.now_s, author, message)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}: {case}")
        for name, rows in OF_GROUP.items()
        for case in rows
    ],
)
def test_what_comes_of_a_forged_message_in_a_group(name: str, case: str) -> None:
    kind = ALL[name]
    make = cases(kind, of_group=True)[case]
    word = what_comes_of(kind, make(pristine(kind, of_group=True)), of_group=True)
    assert word == OF_GROUP[name][case]
