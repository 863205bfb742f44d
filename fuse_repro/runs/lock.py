"""The lock of a run directory: no two processes write one run.

The kernel holds it on records.jsonl, which is never replaced, so it ends with its process, however that ends,
and leaves nothing behind.
"""

import contextlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, where runs have no lock
    fcntl = None  # type: ignore[assignment]

_held: dict[str, int] = {}


class RunInUse(Exception):
    """Another process holds the lock."""


def acquire(path: Path, patience_s: float = 2.0) -> None:
    """Take the lock on the file `path`, made if need be; this process may hold it already.

    Waits `patience_s`, since `is_held` holds it for a moment. Where the file system has no locks, none is taken.

    Raises:
        RunInUse: if another process holds it.
        OSError: if the file cannot be written.
    """
    key = str(path.absolute())
    if fcntl is None or key in _held:
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    deadline = time.monotonic() + patience_s
    while not _try(handle):
        if time.monotonic() > deadline:
            os.close(handle)
            raise RunInUse
        time.sleep(0.02)
    _held[key] = handle


def release(path: Path) -> None:
    """Let go of the lock, if this process holds it."""
    handle = _held.pop(str(path.absolute()), None)
    if handle is not None:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process, this one included, holds the lock."""
    if str(path.absolute()) in _held:
        return True
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return fcntl is not None and not _try(handle)
        finally:
            os.close(handle)
    return False


def _try(handle: int) -> bool:
    """False if another process has the lock; true also where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
