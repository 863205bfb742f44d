"""A lock on a file: one holder at a time, in all processes and threads.

The kernel holds it (flock), so it ends with its process, however that ends. The file itself may stay: alone
it blocks nobody. Where there are no such locks (Windows, some network file systems) none is taken, and nobody
waits.
"""

import contextlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.02


class Held(Exception):
    """Somebody else holds the lock."""


class FileLock:
    """One holder's side of the lock on `path`; the file is made if need be, and its content is left alone.

    Two of these exclude each other within a process, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self, patience_s: float | None = None) -> None:
        """Take the lock, which this holder must not have yet.

        Args:
            patience_s: how long to wait for it, in seconds; None waits until it is free.

        Raises:
            Held: somebody else still has it.
            OSError: the file cannot be written.
        """
        deadline = None if patience_s is None else time.monotonic() + patience_s
        while self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                while not _try(handle):
                    if deadline is not None and time.monotonic() > deadline:
                        raise Held(str(self.path))
                    time.sleep(POLL_S)
                if _is_at(handle, self.path):
                    self._handle = handle
            finally:
                if self._handle is None:
                    os.close(handle)

    def release(self) -> None:
        """Let go of the lock, if this holder has it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock on `path`.

    To find out it is taken for a moment, so that whoever wants it should have some patience.
    """
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return not _try(handle)
        finally:
            os.close(handle)
    return False


def _is_at(handle: int, path: Path) -> bool:
    """False if the file was removed while we waited: whoever makes it anew would not wait for us."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _try(handle: int) -> bool:
    """False if somebody else has the lock; true also where there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
