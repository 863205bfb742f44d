"""A sweep directory as data: its points, their states and what they measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.report.measures import Measure, measures
from fuse_repro.runs.directory import MANIFEST, RESULTS, STATUS, read_json, read_records
from fuse_repro.runs.state import NEW, run_state

SWEEP, FORMAT = "sweep.json", 1
SEEDS = ("seed", "seeds")


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    state: done, running, interrupted, failed, or "left" where it was not begun.
    damaged: why its files could not be read, or None.
    """

    id: str
    directory: Path
    overrides: Mapping[str, Any]
    state: str
    status: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    measures: Sequence[Measure] = ()
    items: tuple[int, int] = (0, 0)
    damaged: str | None = None


@dataclass(frozen=True)
class Sweep:
    """name; the axes that vary, seeds apart: key -> values in order; and every point."""

    name: str
    path: Path
    command: Sequence[str]
    axes: Mapping[str, Sequence[Any]]
    points: Sequence[Point]


def is_sweep(path: Path) -> bool:
    """Whether this is a sweep's directory."""
    return (path / SWEEP).is_file()


def read_sweep(path: Path) -> Sweep:
    """Everything that the report of a sweep needs. A point whose files are damaged is reported as failed.

    Raises:
        UsageError: if sweep.json is missing, damaged or of another version.
    """
    content = read_json(path / SWEEP)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{path / SWEEP} has format {content.get('format')!r}, and this version reads {FORMAT}: "
            "use the version that wrote it"
        )
    try:
        points = [_point(path, entry) for entry in content["points"]]
        keys = [*content.get("axes", {}), *(key for point in points for key in point.overrides)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path / SWEEP} is damaged ({error!r}); run the same sweep again") from error
    axes = {key: _values(points, key) for key in dict.fromkeys(keys)}
    varying = {key: values for key, values in axes.items() if len(values) > 1}
    return Sweep(str(content.get("name") or path.name), path, content.get("overrides") or [], varying, points)


def is_seed(key: str) -> bool:
    """Whether this axis only repeats the others."""
    return key.rsplit(".", 1)[-1] in SEEDS


def _values(points: Sequence[Point], key: str) -> list[Any]:
    """The values of an axis: numbers in order and None last, or names as they come."""
    found: list[Any] = []
    for point in points:
        value = point.overrides.get(key)
        if key in point.overrides and value not in found:
            found.append(value)
    if all(is_number(value) or value is None for value in found):
        found.sort(key=lambda value: (value is None, value or 0))
    return found


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _point(path: Path, entry: Mapping[str, Any]) -> Point:
    directory = path / str(entry["directory"])
    overrides = {str(key): _plain(value) for key, value in entry["overrides"].items()}
    named = (str(entry["id"]), directory, overrides)
    if not directory.is_dir():
        return Point(*named, "left")
    try:
        status = read_json(directory / STATUS) if (directory / STATUS).exists() else {}
        manifest = read_json(directory / MANIFEST) if (directory / MANIFEST).exists() else {}
        results = read_json(directory / RESULTS) if (directory / RESULTS).exists() else {}
        records, state = read_records(directory), run_state(directory).state
    except UsageError as error:
        return Point(*named, "failed", damaged=str(error))
    done = sum(record.get("status") == "done" for record in records)
    return Point(
        *named,
        "left" if state == NEW else state,
        status,
        manifest.get("config") or {},
        results,
        measures(records, results),
        (done, len(records) - done),
    )


def _plain(value: Any) -> Any:
    """An override's value: text that is JSON, as on the command line, is read as such; lists become text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return json.dumps(value) if isinstance(value, list | dict) else value
