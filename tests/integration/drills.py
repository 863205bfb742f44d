"""Sweeps of drills (tests/drill_runner.py): the whole command, real run directories, faults on request."""

import json
from pathlib import Path

from fuse_repro.runs.directory import read_records
from fuse_repro.sweeps.sweep import Sweep, read_sweep

CONFIGS = Path(__file__).parents[1] / "drill"
ROOT = Path(__file__).parents[2]


def drill(root: Path, *overrides: str) -> list[str]:
    """A sweep of drills below `root`."""
    return [
        "-m",
        f"--config-dir={CONFIGS}",
        "experiment=drill",
        f"output_root={root}",
        "logger=none",
        *overrides,
    ]


def the_sweep(root: Path) -> Sweep:
    """The one sweep below `root`."""
    (path,) = (root / "drill").iterdir()
    return read_sweep(path)


def states(root: Path, key: str = "runner.fault") -> dict[object, str]:
    """Swept value -> state of its point."""
    return {point.overrides[key]: point.state.state for point in the_sweep(root).points.values()}


def records(root: Path) -> dict[str, list[dict]]:
    """Point id -> its records."""
    return {key: read_records(point.directory) for key, point in the_sweep(root).points.items()}


def result(root: Path, key: str, value: object) -> dict:
    """results.json of the point with this swept value."""
    (point,) = (p for p in the_sweep(root).points.values() if p.overrides[key] == value)
    return json.loads((point.directory / "results.json").read_text())
