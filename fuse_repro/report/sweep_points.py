"""What the points of a sweep measured, and what varies between them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fuse_repro.report.measures import Measure, measures
from fuse_repro.report.readable import readable
from fuse_repro.runs.look import look_at
from fuse_repro.runs.seal import SHARD
from fuse_repro.runs.state import FAILED, NEW
from fuse_repro.runs.sweep_file import Point, Sweep

LEFT = "left"
SEEDS = ("seed", "seeds")


@dataclass(frozen=True)
class PointReport:
    """One point of a sweep as its files say.

    Attributes:
        point: which it is.
        overrides: swept key -> value; text that is JSON, as on the command line, is read as such.
        state: done, running, interrupted, failed, or "left" where it was not begun.
        error: one line, or None.
        traceback: or None.
        config: of the run, resolved; empty where it was not begun.
        measures: what it measured so far.
        failed_items: how many of its items failed.
        is_shard: whether it worked on a part of its data set only.
    """

    point: Point
    overrides: Mapping[str, Any]
    state: str = LEFT
    error: str | None = None
    traceback: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    measures: Sequence[Measure] = ()
    failed_items: int = 0
    is_shard: bool = False


def point_reports(sweep: Sweep) -> list[PointReport]:
    """Every point of the sweep; one whose files are damaged has failed."""
    return [_report(point) for point in sweep.points.values()]


def varying_axes(points: Sequence[PointReport]) -> dict[str, list[Any]]:
    """The swept keys with more than one value -> their values.

    Numbers are in order and None is last; names are as they come.
    """
    keys = dict.fromkeys(key for point in points for key in point.overrides)
    axes = {key: _values(points, key) for key in keys}
    return {key: values for key, values in axes.items() if len(values) > 1}


def is_seed(key: str) -> bool:
    """Whether this axis only repeats the others."""
    return key.rsplit(".", 1)[-1] in SEEDS


def _values(points: Sequence[PointReport], key: str) -> list[Any]:
    found: list[Any] = []
    for point in points:
        value = point.overrides.get(key)
        if key in point.overrides and value not in found:
            found.append(value)
    if all(is_number(value) or value is None for value in found):
        found.sort(key=lambda value: (value is None, value or 0))
    return found


def is_number(value: object) -> bool:
    """Whether this is a number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _report(point: Point) -> PointReport:
    directory = point.directory
    overrides = {str(key): _plain(value) for key, value in point.overrides.items()}
    if not directory.is_dir():
        return PointReport(point, overrides)
    files, state = look_at(directory), point.state
    records, results, odd = readable(measures, files.records, files.results)
    damage = [*files.damage, *odd]
    return PointReport(
        point,
        overrides,
        FAILED if damage else LEFT if state.state == NEW else state.state,
        "; ".join(dict.fromkeys([*([state.error] if state.error else []), *damage])) or None,
        (files.status or {}).get("traceback"),
        files.manifest.get("config") or {},
        measures(records, results),
        sum(record.get("status") != "done" for record in records),
        SHARD in files.manifest,
    )


def _plain(value: Any) -> Any:
    """An override's value: text that is JSON, as on the command line, is read as such; lists become text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return json.dumps(value) if isinstance(value, list | dict) else value
