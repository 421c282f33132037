"""Each claim of the ledger's page names a test, and the test is there; so it is of other pages."""

import re
from pathlib import Path

import pytest
from ledger_group import LedgerGroup

from p2pfl_gossip.ledger.messages import LEDGER_MESSAGES
from p2pfl_gossip.records import Codec

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "ledger.md")
)
def test_every_test_that_a_page_names_is_there(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", page)
    assert [it for it in named if f"def {it}(" not in SOURCES and it != "test_rows"] == []
    files = re.findall(r"`(tests/[\w/]+\.\w+)`", page)
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) > 25
    assert [name for name in named if f"def {name}(" not in SOURCES] == []
    files = re.findall(r"`((?:tests|docs)/[\w/]+\.\w+)`", PAGE)
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_every_claim_names_a_test() -> None:
    claims = PAGE.split("## What is claimed")[1].split("## Who may change what")[0]
    rows = [line for line in claims.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 18
    assert [row for row in rows if "test_" not in row.rsplit("|", 2)[1]] == []


def test_the_sizes_are_those_of_the_messages() -> None:
    codec = Codec(LEDGER_MESSAGES, frame_bytes_max=2**16)
    group = LedgerGroup(8)
    entry = group.sum_entry(group.first, 1)
    assert "a signed message of 280 bytes" in PAGE
    assert abs(len(codec.encode(group.advert(0, 5))) - 280) < 8
    assert "a signature of 106 bytes" in PAGE
    assert abs(len(codec.encode(group.entry_signature(0, entry))) - 106) < 8
    for size in (8, 20, 64, 128):
        group = LedgerGroup(size)
        certificate = group.certificate(group.sum_entry(group.first, 1))
        kilobytes = f"{(len(codec.encode(certificate)) + 36) / 1000:.1f} KB with {size}"
        assert kilobytes in PAGE
