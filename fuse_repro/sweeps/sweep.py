"""The sweep that a command asks for: begun, or continued where its directory is there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST
from fuse_repro.runs.provenance import library_versions
from fuse_repro.runs.sweep_file import Point, Sweep, is_sweep, left_by_a_kill, read_sweep

__all__ = ["Point", "Sweep", "open_sweep", "read_sweep"]

OWN = "fuse_repro"


def open_sweep(directory: Path, identity: str, name: str, overrides: Sequence[str]) -> Sweep:
    """The sweep of this identity in `directory`, begun or continued; nothing is written yet.

    What a command leaves that was killed while it began a sweep is nothing.

    Raises:
        UsageError: if another sweep, another version's sweep, a damaged one or anything else is in the directory.
    """
    directory = directory.absolute()
    remedy = "choose another place with sweep_dir=..., or delete it"
    if directory.is_dir() and left_by_a_kill(directory):
        return Sweep(directory, identity, name, overrides)
    if is_sweep(directory):
        sweep = read_sweep(directory)
        if sweep.damage:
            raise UsageError(sweep.damage[0])
        if sweep.id != identity and identity not in sweep.joined:
            raise UsageError(
                f"{directory} holds another sweep ({' '.join(sweep.overrides)}) than this one; {remedy}"
            )
        now, then = library_versions()[OWN], sweep.versions.get(OWN)
        if now != then:
            raise UsageError(f"{directory} was begun by {OWN} {then}, and this is {now}; {remedy}")
        own = {key: point for key, point in sweep.points.items() if (point.grid or sweep.id) == identity}
        return replace(sweep, id=identity, overrides=sweep.joined.get(identity, sweep.overrides), points=own)
    if directory.is_dir():
        what = "a single run" if (directory / MANIFEST).exists() else "files that are no sweep's"
        raise UsageError(f"{directory} holds {what}; {remedy}")
    return Sweep(directory, identity, name, overrides)
