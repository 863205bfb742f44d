"""The lock of a run directory: no two processes write one run.

The lock is held on records.jsonl, which is never replaced, so it leaves nothing behind. A process holds it
once, however often it opens the run.
"""

from pathlib import Path

from fuse_repro.storage import locks
from fuse_repro.storage.locks import FileLock

PATIENCE_S = 2.0  # `is_held` takes the lock for a moment

_own: dict[str, FileLock] = {}


def acquire(path: Path, patience_s: float = PATIENCE_S) -> None:
    """Take the lock on the file `path`, made if need be; this process may hold it already.

    Raises:
        Held: if another process holds it.
        OSError: if the file cannot be written.
    """
    key = str(path.absolute())
    if key not in _own:
        lock = FileLock(path)
        lock.acquire(patience_s)
        _own[key] = lock


def release(path: Path) -> None:
    """Let go of the lock, if this process holds it."""
    lock = _own.pop(str(path.absolute()), None)
    if lock is not None:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process, this one included, holds the lock."""
    return str(path.absolute()) in _own or locks.is_held(path)
