"""Each way to forge, repeat, delay or relay each message of a masked sum has one known result.

The ways follow from the messages' definitions: a new message, or a new field, fails here until
`session_forgeries.toml` says what must come of each of its rows.
"""

import tomllib
from pathlib import Path

import pytest
from forging import all_messages
from session_forgeries import PLACES, cases, pristine, what_comes_of

from p2pfl_gossip.masked_sum.messages import SessionMessage

TABLE: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("session_forgeries.toml").read_text()
)
KINDS = {name: kind for name, kind in all_messages().items() if issubclass(kind, SessionMessage)}


def test_every_message_of_a_masked_sum_has_a_table() -> None:
    assert sorted(TABLE) == sorted(KINDS)
    assert sorted(kind.__name__ for kind in PLACES) == sorted(KINDS)


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
