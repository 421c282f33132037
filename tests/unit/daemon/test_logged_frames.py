"""What the log tells of frames: enough to see whether a peer ever says two things."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import IDS

from p2pfl.daemon.logs import close_log, open_log
from p2pfl.daemon.reporter import Reporter
from p2pfl_gossip import wire
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Vote
from p2pfl_gossip.records import Message

SESSION, SIGNATURE = bytes([7]) * 32, bytes(64)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    opened = open_log(tmp_path / "peer.log", level="debug")
    yield opened
    close_log(opened)


def logged(log: logging.Logger, path: Path, *messages: Message) -> list[dict[str, Any]]:
    reporter = Reporter(log, {IDS[1]: "berlin"})
    for message in messages:
        reporter.on_traffic("out", IDS[1], message, wire.encode(message))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_frame_is_told_by_session_and_digest(log: logging.Logger, tmp_path: Path) -> None:
    vote, other = (Vote(SESSION, 3, bytes([n]) * 32, SIGNATURE) for n in (1, 2))
    lines = logged(log, tmp_path / "peer.log", vote, vote, other)
    assert [line["message_type"] for line in lines] == ["Vote"] * 3
    assert {line["session"] for line in lines} == {SESSION.hex()[:16]}
    assert {(line["direction"], line["member"]) for line in lines} == {("out", "berlin")}
    assert lines[0]["digest"] == lines[1]["digest"] != lines[2]["digest"]
    # Others' votes are passed on: a reader of the log has to tell them from the peer's own.
    assert [line["author"] for line in lines] == [3, 3, 3]


def test_a_chunk_is_told_by_its_author_and_number(log: logging.Logger, tmp_path: Path) -> None:
    header = ChunkHeader(SESSION, bytes(32), 3, 5, bytes(32), SIGNATURE)
    (line,) = logged(log, tmp_path / "peer.log", header)
    assert (line["author"], line["chunk"]) == (3, 5)
