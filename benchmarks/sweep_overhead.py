"""What a sweep costs per point beside the point's own work, in this process and in processes of their own.

    PYTHONPATH=tests:tests/integration python benchmarks/sweep_overhead.py

The points load no model and write one record. In this process, the seconds from the start of a point's composition to
its first work are told apart from the rest; the first point is left out, since it imports the libraries.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import drill_runner
from _common import report
from drills import drill

from fuse_repro.cli import main as fuse_repro
from fuse_repro.sweeps import compose, launcher
from fuse_repro.sweeps.local import run_point

POINTS = 20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sweep_overhead_") as folder:
        composing, starting, whole = in_process(Path(folder))
        report(
            "sweep_overhead",
            {
                "points": POINTS,
                "compose_seconds_per_point": composing,
                "start_to_first_work_seconds_per_point": composing + starting,
                "whole_seconds_per_point_in_process": whole,
                "whole_seconds_per_point_isolated": isolated(Path(folder)),
            },
        )


def in_process(folder: Path) -> tuple[float, float, float]:
    """Median seconds: to compose a point, from its launch to the runner's first work, and for all of it."""
    times: dict[str, list[float]] = {"compose": [], "begun": [], "work": []}

    def timed_compose(*arguments: object) -> object:
        begun = time.perf_counter()
        point = compose.compose_point(*arguments)  # type: ignore[arg-type]
        times["compose"].append(time.perf_counter() - begun)
        return point

    def timed_point(*arguments: object) -> bool:
        times["begun"].append(time.perf_counter())
        return run_point(*arguments)  # type: ignore[arg-type]

    run = drill_runner.run

    def timed_run(*arguments: object) -> object:
        times["work"].append(time.perf_counter())
        return run(*arguments)  # type: ignore[arg-type]

    launcher.compose_point = timed_compose  # type: ignore[assignment]
    sys.modules["fuse_repro.sweeps.local"].run_point = timed_point  # type: ignore[attr-defined]
    drill_runner.run = timed_run  # type: ignore[assignment]
    begun = time.perf_counter()
    sweep(folder / "here", "hydra.launcher.in_process=true", f"seed=range(0,{POINTS + 1})")
    first = times["begun"][1] - begun
    seconds = time.perf_counter() - begun - first + statistics.median(times["compose"]) * POINTS
    pairs = list(zip(times["begun"], times["work"], strict=True))[1:]
    starting = statistics.median(work - start for start, work in pairs)
    launcher.compose_point = compose.compose_point
    return statistics.median(times["compose"]), starting, seconds / POINTS


def isolated(folder: Path) -> float:
    """Seconds per point in processes of their own, one at a time, once the server has loaded the libraries."""
    sweep(folder / "warm", "seed=0")
    begun = time.perf_counter()
    sweep(folder / "apart", f"seed=range(0,{POINTS})")
    return (time.perf_counter() - begun) / POINTS


def sweep(root: Path, *overrides: str) -> None:
    """One sweep of drills."""
    assert fuse_repro(drill(root, "runner.count=1", "runner.at=-1", *overrides)) == 0


if __name__ == "__main__":
    main()
