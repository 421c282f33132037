"""Other implementations as child processes, told what to do by one JSON line each."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ANSWER_BYTES_MAX = 1 << 20

COMMANDS = {
    "py-libp2p": [str(ROOT / ".venvs/py-libp2p/bin/python"), str(HERE / "py_peer.py")],
    "js-libp2p": ["node", str(HERE / "js/peer.mjs")],
}


def why_missing(name: str) -> str | None:
    """Why an implementation cannot be run here; None where it can."""
    if shutil.which(COMMANDS[name][0]) is None:
        return f"{name} is not set up: {COMMANDS[name][0]} is missing (scripts/setup-interop)"
    if name == "js-libp2p" and not (HERE / "js/node_modules").is_dir():
        return f"{name} is not set up: no node_modules (scripts/setup-interop)"
    return None


class OtherPeer:
    """A peer of another implementation.

    Attributes:
        peer_id: its peer id.
        addresses: where it listens, with its peer id.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.peer_id = ""
        self.addresses: list[str] = []

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *COMMANDS[self._name],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=sys.stderr,
            limit=ANSWER_BYTES_MAX,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        told = await self._answer()
        self.peer_id, self.addresses = told["peer"], told["addresses"]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.stdin.wait_closed()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have the peer do something; raises AssertionError with what went wrong there."""
        answer = await self.attempt(what, **arguments)
        assert "error" not in answer, f"{self._name}: {answer['error']}"
        return answer

    async def attempt(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have the peer do something that may fail; an answer with `error` says so."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        await self.process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, f"{self._name} died"
        answer: dict[str, Any] = json.loads(line)
        return answer
