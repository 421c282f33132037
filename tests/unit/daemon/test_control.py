"""The control socket: one line in, one line out, for its owner alone."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from driving import run

from p2pfl.daemon.control import LINE_BYTES_MAX, ControlServer, ask
from p2pfl.daemon.errors import ControlError


async def answer(request: dict[str, Any]) -> dict[str, Any]:
    return {"error": "not that"} if request["command"] == "fly" else {"asked": request}


def test_a_question_is_answered_and_an_error_raised(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def main() -> None:
        server = await ControlServer.open(path, answer)
        assert path.stat().st_mode & 0o777 == 0o600
        told = await asyncio.to_thread(ask, path, {"command": "status"})
        assert told == {"asked": {"command": "status"}}
        with pytest.raises(ControlError, match="not that"):
            await asyncio.to_thread(ask, path, {"command": "fly"})
        await server.close()
        assert not path.exists()

    run(main)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"status\n", b'{"error":"not JSON"}\n'),
        (b"[1]\n", b'{"error":"not a request"}\n'),
        (b"\xff\xfe\n", b'{"error":"not JSON"}\n'),
        (b"x" * (2 * LINE_BYTES_MAX), b""),
    ],
)
def test_nonsense_is_answered_or_cut_off_and_the_next_is_served(
    tmp_path: Path, line: bytes, told: bytes
) -> None:
    path = tmp_path / "control.sock"

    async def main() -> None:
        server = await ControlServer.open(path, answer)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        try:
            await writer.drain()
            got = await reader.read()
        except ConnectionError:
            got = b""
        assert got == told
        writer.close()
        assert await asyncio.to_thread(ask, path, {"command": "status"})
        await server.close()

    run(main)


def test_a_socket_that_a_killed_process_left_is_no_peer_and_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(ControlError, match="no peer runs in"):
        ask(path, {"command": "status"})

    async def main() -> None:
        server = await ControlServer.open(path, answer)
        assert await asyncio.to_thread(ask, path, {"command": "status"})
        await server.close()

    run(main)
