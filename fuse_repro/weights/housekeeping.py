"""What lies in the cache of weights, and what of it can go: entries, and what interrupted work has left."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuse_repro.storage.locks import FileLock, Held
from fuse_repro.weights.cache import lock_path, remove
from fuse_repro.weights.listing import LISTING, Damaged
from fuse_repro.weights.verify import CHANGED, NEVER, STAMP, verified

NAME = r"(?!\.)[A-Za-z0-9._-]+-[0-9a-f]{12}"
ENTRY = re.compile(NAME)
LEFT = re.compile(rf"\.({NAME})\.(building|fetched|lock)")
REASONS = {
    "building": "left by an interrupted download or conversion",
    "fetched": "what an interrupted download has so far",
    "lock": "a lock that nobody holds",
}
DAY_S = 86400.0


@dataclass(frozen=True)
class Entry:
    """A folder of the cache.

    Attributes:
        path: the folder.
        size: bytes of all of its files.
        made: when, in seconds since the epoch; None where its listing is gone.
        source: where its files came from; empty if it is damaged.
        damage: what is wrong with it; None if nothing is.
    """

    path: Path
    size: int
    made: float | None
    source: str
    damage: str | None


@dataclass(frozen=True)
class Leaving:
    """What `prune` removes: a path, its size in bytes, and why it goes."""

    path: Path
    size: int
    reason: str


def entries(cache: Path, mode: str = NEVER) -> Iterator[Entry]:
    """The entries of a cache by name, verified as `mode` says.

    A folder counts as one if it is called so and has a listing or a lock: others in the same place are left alone.
    """
    for path in sorted(cache.iterdir()):
        made_here = (path / LISTING).is_file() or lock_path(path).is_file()
        if ENTRY.fullmatch(path.name) and path.is_dir() and made_here:
            yield _look(path, mode)


def leaving(cache: Path, older_than_days: float | None = None, everything: bool = False) -> Iterator[Leaving]:
    """What can go: damaged entries, those of this age, and what interrupted work has left.

    Whether an entry is damaged is looked at as by `weights.verify=changed`.

    Args:
        cache: the cache folder.
        older_than_days: how long ago an entry was made that goes; None for no such limit.
        everything: whether all entries go.
    """
    for entry in entries(cache, NEVER if everything else CHANGED):
        days = 0.0 if entry.made is None else (time.time() - entry.made) / DAY_S
        if entry.damage is not None:
            yield Leaving(entry.path, entry.size, f"damaged: {entry.damage}")
        elif everything or (older_than_days is not None and days > older_than_days):
            yield Leaving(entry.path, entry.size, f"made {days:.0f} days ago")
        else:
            for torn in sorted(entry.path.glob(f"{STAMP}.*.tmp")):
                yield Leaving(torn, _size(torn), "left by an interrupted verification")
    for path in sorted(
        cache.iterdir()
    ):  # .building and .fetched before .lock, which is held while they are looked at
        if left := LEFT.fullmatch(path.name):
            yield Leaving(path, _size(path), REASONS[left[2]])


def discard(leaving: Leaving, dry_run: bool = False) -> bool:
    """Remove it, unless another process is at work on the same entry; with `dry_run`, only look.

    Returns:
        Whether it is gone, or would be.

    Raises:
        OSError: it cannot be removed.
    """
    target = _target(leaving.path)
    if dry_run and not lock_path(target).exists():
        return True
    lock = FileLock(lock_path(target))
    try:
        lock.acquire(0.0)
    except Held:
        return False
    try:
        if not dry_run:
            remove(leaving.path)
            if leaving.path != lock.path:
                remove(lock.path)  # made anew, perhaps, just now
        return True
    finally:
        lock.release()


def _target(path: Path) -> Path:
    """The entry that a path in the cache belongs to."""
    if left := LEFT.fullmatch(path.name):
        return path.with_name(left[1])
    return path if ENTRY.fullmatch(path.name) else path.parent


def _look(path: Path, mode: str) -> Entry:
    try:
        made = (path / LISTING).stat().st_mtime
    except OSError:
        made = None
    try:
        listing = verified(path, mode)
    except Damaged as damage:
        return Entry(path, _size(path), made, "", str(damage))
    return Entry(path, _size(path), made, listing.source, None)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; symbolic links are not followed."""
    below = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in below if file.is_symlink() or file.is_file())
