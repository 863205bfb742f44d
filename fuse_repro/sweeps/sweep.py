"""The sweep that a command asks for: begun, or continued where its directory is there."""

from collections.abc import Sequence
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST
from fuse_repro.runs.files import read_json
from fuse_repro.runs.provenance import library_versions
from fuse_repro.runs.sweep_file import SWEEP, Point, Sweep, is_sweep, read_sweep

__all__ = ["Point", "Sweep", "open_sweep", "read_sweep"]

OWN = "fuse_repro"


def open_sweep(directory: Path, identity: str, name: str, overrides: Sequence[str]) -> Sweep:
    """The sweep of this identity in `directory`, begun or continued; nothing is written yet.

    Raises:
        UsageError: if another sweep, another version's sweep or anything else is in the directory.
    """
    directory = directory.absolute()
    remedy = "choose another place with sweep_dir=..., or delete it"
    if is_sweep(directory) and not _cut_short(directory):
        sweep = read_sweep(directory)
        if sweep.id != identity:
            raise UsageError(
                f"{directory} holds another sweep ({' '.join(sweep.overrides)}) than this one; {remedy}"
            )
        now, then = library_versions()[OWN], sweep.versions.get(OWN)
        if now != then:
            raise UsageError(f"{directory} was begun by {OWN} {then}, and this is {now}; {remedy}")
        return sweep
    if not _cut_short(directory):
        what = "a single run" if (directory / MANIFEST).exists() else "files that are no sweep's"
        raise UsageError(f"{directory} holds {what}; {remedy}")
    return Sweep(directory, identity, name, overrides)


def _cut_short(directory: Path) -> bool:
    """Whether nothing is there but what the very first write of sweep.json may leave when it is cut short."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    if any(name != SWEEP and not name.startswith(f".{SWEEP}.") for name in names):
        return False
    try:
        return SWEEP not in names or not read_json(directory / SWEEP)
    except UsageError:
        return True
