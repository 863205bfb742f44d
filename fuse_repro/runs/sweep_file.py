"""sweep.json: a sweep and its points, as whoever runs a sweep and whoever reports on it see them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runs.files import read_json, write_text
from fuse_repro.runs.provenance import library_versions, strict_json
from fuse_repro.runs.state import RunState, run_state
from fuse_repro.storage.reading import below

SWEEP = "sweep.json"
FORMAT = 1


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
    """The directory of a sweep, and every point that was asked for so far.

    Attributes:
        directory: where sweep.json and the run directories of the points are.
        id: hash of the sweep's settings; a sweep is continued only under the same one.
        name: of the experiment.
        overrides: what was typed after the command, `fuse-repro -m` apart.
        created: ISO time in UTC.
        versions: library -> version, of when the sweep was begun.
        points: id -> point, in the order in which they were asked for.
    """

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


def is_sweep(directory: Path) -> bool:
    """Whether this is the directory of a sweep."""
    return (directory / SWEEP).is_file()


def read_sweep(directory: Path) -> Sweep:
    """The sweep in `directory`.

    Raises:
        UsageError: if there is none, or it is damaged, or was written by another version.
    """
    path = directory / SWEEP
    if not path.exists():
        raise UsageError(
            f"{directory} is not the directory of a sweep: it has no {SWEEP}; give the directory of a run or a sweep"
        )
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{path} has format {content.get('format')!r}, and this version reads format {FORMAT}: use the "
            "version that wrote it, or another sweep_dir"
        )
    try:
        points = [
            Point(str(row["id"]), below(directory, row["directory"]), dict(row["overrides"]))
            for row in content["points"]
        ]
        known = {key: content[key] for key in ("id", "name", "overrides", "created", "versions")}
        return Sweep(directory, points={point.id: point for point in points}, **known)
    except (KeyError, TypeError, ValueError) as err:
        raise UsageError(
            f"{path} is damaged ({err!r}); restore it, or run the same sweep again with another sweep_dir"
        ) from err


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
