"""A run directory as those find it who only look: everything that can be read, and a line on whatever cannot.

Whoever goes on with a run reads the files by `directory.py`, which refuses damage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST, RECORDS, RESULTS, STATUS
from fuse_repro.runs.files import last_of_each, read_json, scan_records

Types = type | tuple[type, ...]
TEXT, OBJECT = (str, NoneType), (dict, NoneType)
SHAPES: Mapping[str, Mapping[str, Types]] = {
    MANIFEST: {
        **dict.fromkeys(("config", "machine", "versions", "weights", "shard"), OBJECT),
        **dict.fromkeys(("created", "device", "git_commit", "config_hash"), TEXT),
        "seed": (int, NoneType),
    },
    STATUS: {
        "state": str,
        **dict.fromkeys(("error", "traceback", "updated"), TEXT),
        "items": (int, NoneType),
    },
    RESULTS: {},
}


@dataclass(frozen=True)
class RunFiles:
    """What can be read of a run.

    Attributes:
        manifest: what manifest.json holds, without values of another type than they have.
        status: what status.json holds, likewise; None where there is none, or none that can be read.
        results: what results.json holds; empty where there is none.
        records: the last record of every item.
        damage: one line on everything that cannot be read, with its file.
    """

    manifest: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    records: list[dict] = field(default_factory=list)
    damage: tuple[str, ...] = ()


def look_at(path: Path) -> RunFiles:
    """Everything that can be read of the run in `path`, without touching it."""
    damage: list[str] = []
    manifest, status, results = (read_object(path / name, damage) for name in (MANIFEST, STATUS, RESULTS))
    records: list[dict] = []
    try:
        records, _, damaged = scan_records(path / RECORDS)
        damage += [f"{path / RECORDS} is damaged at line {number}" for number in damaged]
    except UsageError as error:
        damage.append(str(error))
    return RunFiles(manifest or {}, status, results or {}, last_of_each(records), tuple(damage))


def first_damage(path: Path) -> str | None:
    """One line on the first file of the run in `path` that cannot be read; None if all can.

    Files are read again only when they have changed.
    """
    return _first_damage(path, tuple(stamp(path / name) for name in (MANIFEST, STATUS, RESULTS, RECORDS)))


@lru_cache(maxsize=4096)
def _first_damage(path: Path, stamps: tuple[tuple[int, int] | None, ...]) -> str | None:
    return next(iter(look_at(path).damage), None)


def stamp(path: Path) -> tuple[int, int] | None:
    """Time of change (ns) and size (bytes) of a file: what it holds has not changed while these have not."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def read_object(path: Path, damage: list[str]) -> dict[str, Any] | None:
    """The JSON object in one of a run's files.

    Args:
        path: of the file.
        damage: is given a line on what cannot be read.

    Returns:
        The object without values of a wrong type; None where there is no file, or none that can be read.
    """
    if not path.exists():
        return None
    try:
        found = read_json(path)
    except UsageError as error:
        damage.append(str(error))
        return None
    shape = SHAPES[path.name]
    wrong = [key for key, types in shape.items() if key in found and not isinstance(found[key], types)]
    damage += [f"{path} is damaged: {key} is {found[key]!r:.60}; restore it" for key in wrong]
    return {key: value for key, value in found.items() if key not in wrong}
