"""Each way to forge, repeat or delay each message of the ledger has one known result.

As `test_peer_forgeries.py`: a new message, or a new field, fails here until
`ledger_forgeries.toml` says what must come of each of its rows.
"""

import tomllib
from pathlib import Path

import pytest
from ledger_forgeries import RIGS, cases, kinds, what_comes_of

TABLE: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("ledger_forgeries.toml").read_text()
)


def test_every_message_of_the_ledger_has_a_table() -> None:
    assert sorted(TABLE) == sorted(kinds())
    assert sorted(kind.__name__ for kind in RIGS) == sorted(kinds())


@pytest.mark.parametrize("name", kinds())
def test_every_way_to_forge_a_message_has_its_row(name: str) -> None:
    assert list(TABLE[name]) == list(cases(kinds()[name]))


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}: {case}")
        for name, rows in TABLE.items()
        for case in rows
    ],
)
def test_what_comes_of_a_forged_message(name: str, case: str) -> None:
    kind = kinds()[name]
    assert what_comes_of(kind, cases(kind)[case]) == TABLE[name][case]
