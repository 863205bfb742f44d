"""sweep.json: a sweep and its points, as whoever runs a sweep and whoever reports on it see them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.runs.directory import MANIFEST, STATUS
from fuse_repro.runs.files import read_json, write_text
from fuse_repro.runs.merged import MERGED
from fuse_repro.runs.provenance import library_versions, strict_json
from fuse_repro.runs.state import RunState, run_state
from fuse_repro.storage.files import sweep_up
from fuse_repro.storage.locks import FileLock

SWEEP = "sweep.json"
LOCK = f".{SWEEP}.lock"
FORMAT = 1
FIELDS = {
    "id": str,
    "name": str,
    "created": str,
    "overrides": list,
    "versions": dict,
    "points": list,
    "joined": dict,
}
EMPTY: Mapping[str, Any] = {"id": "", "name": "", "overrides": [], "created": "", "versions": {}}


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        id: hash of its resolved config, whatever the order of the keys; the name of its directory.
        directory: its run directory, absolute.
        overrides: swept key -> value.
        config: the resolved config; None where the point was read from sweep.json.
        grid: id of the grid that asked for it first; None is the one that began the sweep.
    """

    id: str
    directory: Path
    overrides: Mapping[str, Any]
    config: Mapping[str, Any] | None = None
    grid: str | None = None

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
        joined: id -> overrides, of grids that were started in the directory at the same moment as the first.
        damage: one line on everything in sweep.json that cannot be read.
    """

    directory: Path
    id: str
    name: str
    overrides: Sequence[str]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: Mapping[str, str | None] = field(default_factory=library_versions)
    points: dict[str, Point] = field(default_factory=dict)
    joined: dict[str, Sequence[str]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)

    def add(self, points: Iterable[Point]) -> None:
        """Write these points to sweep.json, too; what another command has written there meanwhile stays.

        Raises:
            UsageError: if it cannot be written.
        """
        before = set(self.points)
        for point in points:
            self.points.setdefault(point.id, point)
        if before != set(self.points) or not (self.directory / SWEEP).exists():
            with locked(self.directory):
                self._merged()._write()

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

    def _merged(self) -> "Sweep":
        """What sweep.json holds, with these points; just this sweep where there is none yet."""
        if not is_sweep(self.directory) or left_by_a_kill(self.directory):
            return self
        found = read_sweep(self.directory)
        _refuse_damage(found)
        other = None if found.id == self.id else self.id
        if other is not None:
            found.joined.setdefault(other, list(self.overrides))
        for point in self.points.values():
            found.points.setdefault(point.id, replace(point, grid=point.grid or other))
        return found

    def _write(self) -> None:
        rows = [
            {"id": p.id, "directory": p.directory.name, "overrides": p.overrides}
            | ({"grid": p.grid} if p.grid else {})
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
        } | ({"joined": self.joined} if self.joined else {})
        sweep_up(self.directory)  # the lock is held: what lies there is nobody's
        text = strict_json(content, indent=2) + "\n"
        write_text(self.directory / SWEEP, text, "another place with sweep_dir=...")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Within, no other command writes what the points of the sweep in `directory` share; it is made if need be.

    Raises:
        UsageError: if it cannot be written.
    """
    lock = FileLock(directory / LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as err:
        raise UsageError(
            f"cannot write {directory}: {err.strerror}; choose another place with sweep_dir=..."
        ) from err
    try:
        yield
    finally:
        lock.release()


def is_sweep(directory: Path) -> bool:
    """Whether this is the directory of a sweep."""
    return (directory / SWEEP).is_file()


def left_by_a_kill(directory: Path) -> bool:
    """Whether all that is here is what a command leaves that was killed while it wrote sweep.json first."""
    own = [path for path in directory.iterdir() if not path.name.startswith(f".{SWEEP}.")]
    if not own:
        return True
    if [path.name for path in own] != [SWEEP]:
        return False
    try:
        return not read_json(directory / SWEEP)
    except UsageError:
        return True


def read_sweep(directory: Path) -> Sweep:
    """The sweep in `directory`, as far as it can be read; `damage` of it says what cannot.

    Where sweep.json is damaged, runs that it does not name are points as well.

    Raises:
        UsageError: if there is none, it was written by another version, or it is damaged and has no point.
    """
    path = directory / SWEEP
    if not path.exists():
        raise UsageError(
            f"{directory} is not the directory of a sweep: it has no {SWEEP}; give the directory of a run or a sweep"
        )
    try:
        content, damage = read_json(path), list[str]()
    except UsageError as error:
        content, damage = {}, [str(error)]
    if not damage and content.get("format") != FORMAT:
        raise UsageError(
            f"{path} has format {content.get('format')!r}, and this version reads format {FORMAT}: use the "
            "version that wrote it, or another sweep_dir"
        )
    known = {} if damage else {key: _typed_field(path, content, key, damage) for key in FIELDS}
    points = {point.id: point for point in _points(path, known.pop("points", []), damage)}
    if damage:
        runs = sorted(file.parent for name in (MANIFEST, STATUS) for file in directory.glob(f"*/{name}"))
        ours = {p.directory for p in points.values()} | {directory / MERGED}
        unnamed = [run for run in dict.fromkeys(runs) if run not in ours]
        points = {run.name: Point(run.name, run, {}) for run in unnamed} | points
    known["overrides"] = [str(override) for override in known.get("overrides", [])]
    sweep = Sweep(directory, **{**EMPTY, **known}, points=points, damage=damage)
    if not points:
        _refuse_damage(sweep)
    return sweep


def _refuse_damage(sweep: Sweep) -> None:
    if sweep.damage:
        raise UsageError(sweep.damage[0])


def _typed_field(path: Path, content: Mapping[str, Any], key: str, damage: list[str]) -> Any:
    """The value of a key of sweep.json; an empty one, and a line more of `damage`, where it has another type."""
    kind = FIELDS[key]
    found = content.get(key, {} if key == "joined" else None)
    if isinstance(found, kind):
        return found
    damage.append(_damaged(path, f"{key} is {found!r:.60}"))
    return kind()


def _points(path: Path, rows: Sequence[Any], damage: list[str]) -> Iterator[Point]:
    """The points in the rows of sweep.json that can be read; a line of `damage` on each of the others."""
    for number, row in enumerate(rows, start=1):
        try:
            key, name = str(row["id"]), row["directory"]
            if Path(name).name != name:
                raise ValueError(f"directory {name!r:.60}")
            yield Point(key, path.parent / name, dict(row["overrides"]), grid=row.get("grid"))
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            damage.append(_damaged(path, f"{err!r}", f" at its point {number}"))


def _damaged(path: Path, what: str, where: str = "") -> str:
    return (
        f"{path} is damaged ({what}){where}; restore it, or run the same sweep again with another sweep_dir"
    )


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
