"""What peers of the speed bench share: one JSON command a line in, one JSON answer a line out.

It needs Python alone: peers of other projects import it, in environments of their own.
"""

import asyncio
import json
import resource
import sys
from typing import Any


class Answering:
    """A peer; each public method of a subclass is a command, with its arguments by name."""

    async def cpu(self) -> dict[str, Any]:
        """Tell the CPU seconds of this process."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"seconds": used.ru_utime + used.ru_stime}


def say(answer: dict[str, Any]) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def answer_all(peer: Answering) -> None:
    """Carry commands out, one after the other, until there are no more."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        say(await getattr(peer, command.pop("do"))(**command))
