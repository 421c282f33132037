"""One process at a time in a folder."""

import fcntl
import os
from pathlib import Path

from p2pfl.store.errors import FolderLocked, StoreError
from p2pfl.store.files import PRIVATE

_PID_DIGITS_MAX = 20


class FolderLock:
    """A lock file that this process holds until `release`, or until it ends in any way.

    The file stays: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            FolderLocked: somebody has it; the message names the folder and the process.
            StoreError: the file cannot be made.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
        except OSError as error:
            raise StoreError(f"cannot lock {path.parent}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _PID_DIGITS_MAX, 0).decode("ascii", "replace")
            self.release()
            process = f"process {holder}" if holder.isdigit() else "another process"
            raise FolderLocked(
                f"{path.parent} is in use by {process}; stop that one first"
            ) from None
        except OSError as error:
            self.release()
            raise StoreError(f"cannot lock {path.parent}: {error.strerror}") from None

    def release(self) -> None:
        """Let others have the folder; once is enough, more do no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
