"""How a sweep stands, in a few lines."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fuse_repro.data.shards import SHARD_KEY
from fuse_repro.errors import SweepIncomplete, UsageError
from fuse_repro.runs.state import DONE, FAILED, RUNNING, RunState
from fuse_repro.shown import say
from fuse_repro.sweeps.sweep import Point, Sweep


@dataclass(frozen=True)
class Counts:
    """How many points of a sweep are in each state.

    Attributes:
        done: points that have ended well.
        running: points that run now.
        failed: points that have failed.
        left: points that were not begun, or were interrupted.
    """

    done: int
    running: int
    failed: int
    left: int

    @classmethod
    def of(cls, states: Iterable[RunState]) -> "Counts":
        """Count these states."""
        counted = Counter(state.state for state in states)
        total = sum(counted.values())
        done, running, failed = (counted[name] for name in (DONE, RUNNING, FAILED))
        return cls(done, running, failed, total - done - running - failed)

    def __str__(self) -> str:
        return f"{self.done} done, {self.running} running, {self.failed} failed, {self.left} left"


def say_ended(point: Point, seconds: float | None = None) -> None:
    """One line on standard error about a point that ended."""
    state = point.state
    took = "" if seconds is None else f" in {seconds:.1f} s"
    error = f": {state.error}" if state.error else ""
    say(f"{point.label}: {state.state}{took}{error}")


def conclude(sweep: Sweep) -> None:
    """Write the sweep's report, merge its shards if it has some, and say how it stands.

    Raises:
        SweepIncomplete: if a point is not done, or shards cannot be merged.
    """
    from fuse_repro.report import build_sweep_report

    counts = Counts.of(point.state for point in sweep.points.values())
    merged = SHARD_KEY not in sweep.axes or _merge(sweep)
    try:
        say(build_sweep_report(sweep.directory), "report")
    except UsageError as error:
        say(f"no report: {error}")
    say(f"{sweep.directory}: {counts}")
    if counts.done < len(sweep.points):
        say("the same command tries again what is not done")
        raise SweepIncomplete
    if not merged:
        raise SweepIncomplete


def _merge(sweep: Sweep) -> bool:
    """Merge the shards of the sweep; false, with the reason said, where that cannot be."""
    from fuse_repro.sweeps.merge import merge  # loads Lightning

    try:
        merge(sweep.directory)
    except UsageError as error:
        say(f"no merged result: {error}")
        return False
    return True
