"""A sweep and its points, as sweep.json holds them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST
from fuse_repro.runs.files import read_json, write_text
from fuse_repro.runs.provenance import library_versions, strict_json
from fuse_repro.runs.state import RunState, run_state

SWEEP = "sweep.json"
FORMAT = 1
OWN = "fuse_repro"


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        id: hash of its resolved config, whatever the order of the keys; the name of its directory.
        directory: its run directory, absolute.
        overrides: swept key -> value.
        config: the resolved config; None where the point was read from sweep.json.
    """

    id: str
    directory: Path
    overrides: Mapping[str, Any]
    config: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        """The swept values as they would be typed."""
        return " ".join(f"{key}={_typed(value)}" for key, value in self.overrides.items()) or self.id

    @property
    def state(self) -> RunState:
        """How far the run is."""
        return run_state(self.directory)


@dataclass
class Sweep:
    """The directory of a sweep, and every point that was asked for so far."""

    directory: Path
    id: str
    name: str
    overrides: Sequence[str]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: Mapping[str, str | None] = field(default_factory=library_versions)
    points: dict[str, Point] = field(default_factory=dict)

    def add(self, points: Iterable[Point]) -> None:
        """Write these points to sweep.json, too. Raises UsageError if it cannot be written."""
        before = set(self.points)
        for point in points:
            self.points.setdefault(point.id, point)
        if before != set(self.points) or not (self.directory / SWEEP).exists():
            self._write()

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Swept key -> its values, in the order in which they were asked for."""
        axes: dict[str, list[Any]] = {}
        for point in self.points.values():
            for key, value in point.overrides.items():
                values = axes.setdefault(key, [])
                if value not in values:
                    values.append(value)
        return axes

    def _write(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(
                f"cannot write {self.directory}: {err.strerror}; choose another place with sweep_dir=..."
            ) from err
        rows = [
            {"id": p.id, "directory": p.directory.name, "overrides": p.overrides}
            for p in self.points.values()
        ]
        content = {
            "format": FORMAT,
            "id": self.id,
            "name": self.name,
            "created": self.created,
            "overrides": list(self.overrides),
            "axes": self.axes,
            "points": rows,
            "versions": self.versions,
        }
        write_text(self.directory / SWEEP, strict_json(content, indent=2) + "\n")


def read_sweep(directory: Path) -> Sweep:
    """The sweep in `directory`.

    Raises:
        UsageError: if there is none, or it is damaged, or was written by another version.
    """
    path = directory / SWEEP
    if not path.exists():
        raise UsageError(f"{directory} is not the directory of a sweep: it has no {SWEEP}")
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{path} has format {content.get('format')!r}, and this version reads format {FORMAT}: use the "
            "version that made it, or another sweep_dir"
        )
    try:
        points = [Point(p["id"], directory / p["directory"], p["overrides"]) for p in content["points"]]
        known = {key: content[key] for key in ("id", "name", "overrides", "created", "versions")}
        return Sweep(directory, points={point.id: point for point in points}, **known)
    except (KeyError, TypeError) as err:
        raise UsageError(f"{path} is damaged ({err!r}); restore it, or choose another sweep_dir") from err


def open_sweep(directory: Path, identity: str, name: str, overrides: Sequence[str]) -> Sweep:
    """The sweep of this identity in `directory`, begun or continued; nothing is written yet.

    Raises:
        UsageError: if another sweep, another version's sweep or anything else is in the directory.
    """
    directory = directory.absolute()
    remedy = "choose another place with sweep_dir=..., or delete it"
    if (directory / SWEEP).exists():
        sweep = read_sweep(directory)
        if sweep.id != identity:
            raise UsageError(
                f"{directory} holds another sweep ({' '.join(sweep.overrides)}) than this one; {remedy}"
            )
        now, then = library_versions()[OWN], sweep.versions.get(OWN)
        if now != then:
            raise UsageError(f"{directory} was begun by {OWN} {then}, and this is {now}; {remedy}")
        return sweep
    if directory.is_dir() and any(directory.iterdir()):
        what = "a single run" if (directory / MANIFEST).exists() else "files that are no sweep's"
        raise UsageError(f"{directory} holds {what}; {remedy}")
    return Sweep(directory, identity, name, overrides)


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
