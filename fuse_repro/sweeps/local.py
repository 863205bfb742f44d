"""`hydra/launcher=local`: the points of a sweep on this machine."""

import os
from collections.abc import Sequence

from fuse_repro.errors import require
from fuse_repro.progress import bar
from fuse_repro.sweeps.launcher import PointLauncher
from fuse_repro.sweeps.outcome import say_ended
from fuse_repro.sweeps.pool import Slot, run_isolated
from fuse_repro.sweeps.sweep import Point
from fuse_repro.sweeps.worker import run_point


class LocalLauncher(PointLauncher):
    """Runs points in processes of their own, `workers` at a time, or one after another in this process."""

    def __init__(
        self,
        workers: int | None = None,
        threads: int | None = None,
        gpus: Sequence[int | str] | None = None,
        in_process: bool = False,
    ) -> None:
        known = workers is None or workers >= 1
        require(known, "hydra.launcher.workers", workers, "at least 1, or null for one per GPU")
        require(threads is None or threads >= 1, "hydra.launcher.threads", threads, "at least 1, or null")
        allowed = "the numbers of GPUs such as [0,1], or null"
        require(gpus is None or len(gpus) > 0, "hydra.launcher.gpus", gpus, allowed)
        alone = not in_process or (workers in (None, 1) and gpus is None)
        require(alone, "hydra.launcher.in_process", in_process, "true only with one worker and no gpus")
        self.slots = _slots(workers, threads, gpus)
        self.in_process = in_process

    def run_points(self, points: Sequence[Point]) -> None:
        """Run the points; each says on standard error how it ended."""
        if self.in_process:
            for point in points:
                _run_here(point)
            return
        with bar("running the sweep", len(points)) as advance:

            def ended(point: Point, seconds: float) -> None:
                say_ended(point, seconds)
                advance(1)

            run_isolated(points, self.slots, self._resume, ended)


def _slots(workers: int | None, threads: int | None, gpus: Sequence[int | str] | None) -> list[Slot]:
    """One slot per worker, the GPUs in turn; without `workers` one per GPU, or one if no GPU is named."""
    count = workers or len(gpus or [None])
    if threads is None and count > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, (os.cpu_count() or 1) // count)
    return [Slot(threads, gpus[n % len(gpus)] if gpus else None) for n in range(count)]


def _run_here(point: Point) -> None:
    assert point.config is not None
    run_point(point.config, point.directory)
    say_ended(point)
