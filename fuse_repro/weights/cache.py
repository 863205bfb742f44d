"""A cache of folders, each of which is either complete and trusted or rebuilt from nothing.

A folder is built beside its final place and becomes visible by one rename; its `entry.json`, written last,
lists every file with size and sha256. Processes that want the same folder at once wait for the first.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.progress import bar
from fuse_repro.storage.locks import FileLock, Held

LISTING = "entry.json"
PATIENCE_S = 1.0  # before a wait is said


@dataclass(frozen=True)
class WeightsEntry:
    """A folder of weight and tokenizer files.

    `files` maps each file's name, relative to `directory`, to its sha256; `source` says where they came from.
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

    `spec` must hold, JSON-serialisable, everything that decides the contents: it is hashed into the folder's
    name, after `label`. A complete folder is used even where the cache cannot be written.

    Raises:
        UsageError: the cache folder cannot be written, or whatever `build` raises.
    """
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-")
    target = cache_folder(cache_dir) / f"{slug}-{digest[:12]}"
    entry = _trusted(target)
    if entry is not None:
        return entry
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            return _trusted(target) or _build(target, source, build)
    except UsageError:
        raise
    except OSError as err:
        raise UsageError(
            f"cannot write to the cache folder {target.parent} ({err.strerror or err}): "
            "free space there, or name a writable folder with cache_dir=... or FUSE_REPRO_CACHE"
        ) from err


def hash_files(directory: Path, names: list[str], label: str) -> dict[str, str]:
    """sha256 of each named file of a folder; `label` names it on the progress bar."""
    sizes = {name: (directory / name).stat().st_size for name in names}
    digests = {}
    with bar(f"hashing {label}", total=sum(sizes.values())) as advance:
        for name in names:
            with (directory / name).open("rb") as stream:
                digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            advance(sizes[name])
    return digests


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of one cache entry, a folder or file; while another process holds it, wait and say so."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(PATIENCE_S)
    except Held:
        with bar(f"waiting for another process to prepare {target.name}"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(target: Path, source: str, build: Callable[[Path], None]) -> WeightsEntry:
    """Build beside `target`, list, then rename; the caller holds the lock, so leftovers are nobody's."""
    building = target.with_name(f".{target.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        build(building)
        names = sorted(str(p.relative_to(building)) for p in building.rglob("*") if p.is_file())
        digests = hash_files(building, names, target.name)
        listing = {n: {"size": (building / n).stat().st_size, "sha256": digests[n]} for n in names}
        text = json.dumps({"source": source, "files": listing}, indent=1)
        (building / LISTING).write_text(text, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return WeightsEntry(target, digests, source)


def _trusted(target: Path) -> WeightsEntry | None:
    """The entry, if its listing is there and every listed file has its size."""
    try:
        listing = json.loads((target / LISTING).read_text(encoding="utf-8"))
        files = listing["files"]
        if any((target / name).stat().st_size != file["size"] for name, file in files.items()):
            return None
        return WeightsEntry(target, {name: file["sha256"] for name, file in files.items()}, listing["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
