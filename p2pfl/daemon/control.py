"""The control socket of a peer: one request a connection, one answer, each a line of JSON.

It lies in the peer's folder with mode 0600: who may read the key may steer the peer.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from p2pfl.daemon.errors import ControlError, NotRunning

LINE_BYTES_MAX = 2**20  # A status of a group of a thousand takes a tenth of it.
TIMEOUT_S = 10.0
PATH_BYTES_MAX = 100  # The kernel's `sun_path` has 108 bytes on Linux, 104 on macOS.

CHECK_TIMEOUT_S = 60.0
"""For a request that asks other members: their dials, and their answers."""

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers on a socket until it is closed."""

    def __init__(self, server: asyncio.Server, path: Path) -> None:
        self._server, self._path = server, path

    @classmethod
    async def open(cls, path: Path, answer: Answer) -> "ControlServer":
        """Listen on a path; what lies there is of an earlier process, as the folder is locked.

        Raises:
            ControlError: the path is too long for a socket, or cannot be made.
        """
        require_short(path)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    line = await reader.readline()
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    writer.write(_encode(await _answered(line, answer)))
                    await writer.drain()
            except (TimeoutError, ValueError, ConnectionError):
                pass  # Whoever asked is gone, or writes no line.
            finally:
                writer.close()

        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(serve, path, limit=LINE_BYTES_MAX)
        except OSError as error:
            raise ControlError(f"cannot listen on {path}: {error.strerror}") from None
        finally:
            os.umask(mask)
        return cls(server, path)

    async def close(self) -> None:
        """Listen no more."""
        self._server.close()
        self._path.unlink(missing_ok=True)


def ask(path: Path, request: dict[str, Any], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Ask the peer behind a socket.

    Raises:
        NotRunning: none runs there.
        ControlError: it does not answer.
    """
    require_short(path)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(_encode(request))
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(LINE_BYTES_MAX) or b"{}")
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(
                f"no peer runs in {path.parent}; start it with: p2pfl peer run {path.parent}"
            ) from None
        except TimeoutError:
            raise ControlError(
                f"the peer in {path.parent} has not answered for {timeout_s:g} s: it may be"
                " frozen, or the machine overloaded"
            ) from None
        except (OSError, ValueError) as error:
            raise ControlError(f"cannot ask the peer in {path.parent}: {error}") from None
    if not isinstance(answer, dict) or "error" in answer:
        told = answer.get("error") if isinstance(answer, dict) else "no answer"
        raise ControlError(f"the peer in {path.parent}: {told}")
    return answer


def require_short(path: Path) -> None:
    """Raise ControlError where a path is too long for a socket."""
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ControlError(
            f"{path} is too long for a Unix socket ({PATH_BYTES_MAX} bytes at most):"
            " put the peer's folder nearer to the root, or give it relative to where you are"
        )


async def _answered(line: bytes, answer: Answer) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError:
        return {"error": "not JSON"}
    if not isinstance(request, dict):
        return {"error": "not a request"}
    return await answer(request)


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
