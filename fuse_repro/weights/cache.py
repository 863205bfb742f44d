"""A cache of folders, each of which is either complete and trusted or rebuilt from nothing.

A folder is built beside its final place, brought to disk, and becomes visible by one rename; its `entry.json`,
written last, lists every file with size and sha256. `fuse_repro.weights.verify` says when they are compared again.
Processes that want the same folder at once wait for the first.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.progress import bar
from fuse_repro.storage.locks import FileLock, Held
from fuse_repro.weights.listing import LISTING, Damaged, Listing
from fuse_repro.weights.verify import current_mode, hash_files, keep_stamp, stamp_of, verified

PATIENCE_S = 1.0  # before a wait is said


@dataclass(frozen=True)
class WeightsEntry:
    """A folder of weight and tokenizer files.

    Attributes:
        directory: the folder.
        files: each file's name, relative to `directory` -> its sha256.
        source: where the files came from, in words.
    """

    directory: Path
    files: dict[str, str]
    source: str


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """`cache_dir`, else $FUSE_REPRO_CACHE, else $XDG_CACHE_HOME/fuse_repro, else ~/.cache/fuse_repro."""
    given = cache_dir or os.environ.get("FUSE_REPRO_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fuse_repro"


def cached(
    cache_dir: str | Path | None, label: str, spec: Mapping, source: str, build: Callable[[Path], None]
) -> WeightsEntry:
    """The cached folder of `spec`, made by `build(empty_folder)` unless a trusted one is there.

    A complete folder is used even where the cache cannot be written.

    Args:
        cache_dir: see `cache_folder`.
        label: the beginning of the folder's name.
        spec: JSON-serialisable; everything that decides the contents. Its hash ends the folder's name.
        source: where the files come from, for the entry.
        build: writes the contents into an empty folder; what it keeps in `fetched_path` of that folder is there again
            after an interruption.

    Raises:
        UsageError: the cache folder cannot be written, or whatever `build` raises.
    """
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-")
    target = cache_folder(cache_dir) / f"{slug}-{digest[:12]}"
    wrong = None
    try:
        return _trusted(target)
    except Damaged as damage:
        wrong = damage if os.path.lexists(target) else None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            with contextlib.suppress(Damaged):
                return _trusted(target)  # somebody else has made it meanwhile
            if wrong:
                print(f"fuse-repro: {target} is damaged ({wrong}) and is made again", file=sys.stderr)
            return _build(target, source, build)
    except UsageError:
        raise
    except OSError as err:
        needed = f"{target.name} in it is damaged ({wrong}); " if wrong else ""
        raise UsageError(
            f"cannot write to the cache folder {target.parent} ({err.strerror or err}): {needed}"
            "free space there, or name a writable folder with cache_dir=... or FUSE_REPRO_CACHE"
        ) from err


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of one cache entry, a folder or file; while another process holds it, wait and say so."""
    lock = FileLock(lock_path(target))
    try:
        lock.acquire(PATIENCE_S)
    except Held:
        with bar(f"waiting for another process to prepare {target.name}"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def lock_path(target: Path) -> Path:
    """The file whose lock is held while an entry is made."""
    return target.with_name(f".{target.name}.lock")


def building_path(target: Path) -> Path:
    """The folder in which an entry is made."""
    return target.with_name(f".{target.name}.building")


def fetched_path(building: Path) -> Path:
    """The folder beside that in which an entry is made, for what outlives an interruption: it goes with success."""
    return building.with_suffix(".fetched")


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a symbolic link itself. Raises OSError where that fails."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _build(target: Path, source: str, build: Callable[[Path], None]) -> WeightsEntry:
    """Build beside `target`, list, then rename; the caller holds the lock, so leftovers are nobody's."""
    building = building_path(target)
    remove(building)
    building.mkdir()
    try:
        build(building)
        names = sorted(p.relative_to(building).as_posix() for p in building.rglob("*") if p.is_file())
        sizes = {name: (building / name).stat().st_size for name in names}
        listing = Listing(source, sizes, hash_files(building, names, target.name))
        (building / LISTING).write_text(listing.text(), encoding="utf-8")
        _settle(building, names)
        keep_stamp(building, stamp_of(building, listing))
        remove(target)
        building.replace(target)
        shutil.rmtree(fetched_path(building), ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return WeightsEntry(target, listing.digests, source)


def _settle(folder: Path, names: Sequence[str]) -> None:
    """Bring the files to disk, readable for whom the umask lets read: safetensors writes for the owner alone."""
    mode = (folder / LISTING).stat().st_mode & 0o666
    for name in [*names, LISTING]:
        with (folder / name).open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_nlink == 1 and found.st_mode & 0o666 != mode:  # a hard link is the hub's file, too
                (folder / name).chmod(found.st_mode & ~0o666 | mode)
            os.fsync(file.fileno())


def _trusted(target: Path) -> WeightsEntry:
    """The entry, if its files are as its listing says. Raises Damaged if they are not, or if there is none."""
    listing = verified(target, current_mode())
    return WeightsEntry(target, listing.digests, listing.source)
