"""Shortages that pass: no descriptor or memory just now is no full disk and no broken socket."""

import errno
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

PASSING_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

PATIENCE_S = 30.0
"""How long a step is tried again. What strangers take is theirs for a handshake's ten seconds."""

PAUSE_S = 0.1
"""Between two tries."""

Result = TypeVar("Result")


def is_passing(error: BaseException) -> bool:
    """Tell whether an error says that something is short that others will give back."""
    if isinstance(error, sqlite3.Error):
        # SQLite does not tell why it could not open its file: one that is gone stays gone.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM)
    return isinstance(error, OSError) and error.errno in PASSING_ERRNOS


def wait_out(step: Callable[[], Result], *, pause: Callable[[float], None] = time.sleep) -> Result:
    """Do a step, and again while a shortage passes; blocks, so not on an event loop.

    After `PATIENCE_S` the shortage is raised as it is.

    Args:
        step: leaves nothing behind where it raises.
        pause: waits for some seconds.
    """
    waited_s = 0.0
    while True:
        try:
            return step()
        except (OSError, sqlite3.Error) as error:
            if not is_passing(error) or waited_s >= PATIENCE_S:
                raise
        pause(PAUSE_S)
        waited_s += PAUSE_S
