"""`hydra/launcher=slurm`: every point of a sweep a job of a Slurm array, by submitit."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fuse_repro.errors import UsageError, require
from fuse_repro.progress import bar
from fuse_repro.runs.state import DONE, FAILED, mark_killed
from fuse_repro.shown import say
from fuse_repro.sweeps.launcher import PointLauncher
from fuse_repro.sweeps.outcome import say_ended
from fuse_repro.sweeps.pool import tail
from fuse_repro.sweeps.slurm_arrays import cut
from fuse_repro.sweeps.slurm_job import SlurmJob
from fuse_repro.sweeps.slurm_queue import (
    cancel_hint,
    cause_of_death,
    largest_array,
    living,
    living_points,
    need_slurm,
    note_jobs,
    read_jobs,
)
from fuse_repro.sweeps.sweep import Point

FOLDER = "slurm"  # in the sweep directory: scripts, pickled jobs and output of submitit


class SlurmLauncher(PointLauncher):
    """Submits points as an array and, unless `wait` is false, waits for them.

    Points that are more than the cluster takes in one array (its MaxArraySize) become several arrays.
    A job that ended without a result is marked as failed with the state that Slurm gives it. Points whose job
    still lives from an earlier start are not submitted again.
    """

    def __init__(
        self,
        wait: bool,
        timeout_min: int,
        max_requeues: int,
        signal_delay_s: int,
        cpus_per_task: int,
        mem_gb: float | None,
        setup: Sequence[str],
        poll_s: float,
        array_parallelism: int = 256,
        **options: Any,
    ) -> None:
        require(timeout_min >= 1, "hydra.launcher.timeout_min", timeout_min, "at least 1")
        require(cpus_per_task >= 1, "hydra.launcher.cpus_per_task", cpus_per_task, "at least 1")
        require(max_requeues >= 0, "hydra.launcher.max_requeues", max_requeues, "at least 0")
        parallel = array_parallelism
        require(parallel >= 1, "hydra.launcher.array_parallelism", parallel, "at least 1 job at once")
        require(poll_s > 0, "hydra.launcher.poll_s", poll_s, "above 0")
        self.wait, self.poll_s, self.max_requeues, self.parallel = wait, poll_s, max_requeues, parallel
        given = {
            **options,
            "time": timeout_min,
            "signal_delay_s": signal_delay_s,
            "cpus_per_task": cpus_per_task,
            "mem": None if mem_gb is None else f"{int(mem_gb * 1024)}MB",
            "setup": [f"export OMP_NUM_THREADS={cpus_per_task}", *setup],
        }
        self.options = {key: value for key, value in given.items() if value is not None}

    @property
    def leaves_early(self) -> bool:
        """Whether points are still to come when `launch` has returned."""
        return not self.wait

    def run_points(self, points: Sequence[Point]) -> None:
        """Submit the points that have no living job, and wait for all of them if asked to."""
        need_slurm()
        alive = living_points(self.sweep.directory, points)
        fresh = [point for point in points if point.id not in alive]
        if fresh:
            self._submit(fresh)
        jobs = read_jobs(self.sweep.directory)
        ours = {point.id: jobs[point.id] for point in points}
        say(f"{len(fresh)} jobs submitted, {len(alive)} live already")
        say(f"watch them with: fuse-repro status {self.sweep.directory}")
        if self.wait:
            try:
                self._wait(points, ours)
            except KeyboardInterrupt:
                say(f"the jobs go on; to end them: {cancel_hint(ours.values())}")
                raise

    def _submit(self, points: Sequence[Point]) -> None:
        """Submit every point, in as many arrays as the cluster wants, and note the jobs of each array at once.

        Raises:
            UsageError: submitit is not installed, or Slurm does not take the jobs.
        """
        arrays = cut(len(points), largest_array(), self.parallel)
        if len(arrays) > 1:
            say(
                f"{len(points)} points in {len(arrays)} arrays: the cluster's MaxArraySize is {arrays[0].end}"
            )
        names: list[str] = []
        for array in arrays:
            after = None if array.after is None else names[array.after]
            jobs = self._submit_array(points[array.begin : array.end], array.parallel, after)
            note_jobs(self.sweep.directory, jobs)
            names.append(next(iter(jobs.values())).partition("_")[0])

    def _submit_array(self, points: Sequence[Point], parallel: int, after: str | None) -> dict[str, str]:
        """Point id -> job, of one array, which begins when the job `after` has ended."""
        try:
            from submitit.core.utils import FailedJobError, FailedSubmissionError
            from submitit.slurm.slurm import SlurmExecutor
        except ImportError as err:
            raise UsageError(
                "hydra/launcher=slurm needs submitit: install it by pip install 'fuse_repro[slurm]'"
            ) from err
        executor = SlurmExecutor(self.sweep.directory / FOLDER, self.max_requeues)
        options = {"job_name": f"fuse_repro_{self.sweep.name}", "array_parallelism": parallel, **self.options}
        if after is not None:
            further = dict(options.get("additional_parameters") or {})
            waits = [*filter(None, [further.get("dependency")]), f"afterany:{after}"]
            options["additional_parameters"] = further | {"dependency": ",".join(waits)}
        try:
            executor.update_parameters(**options)
        except ValueError as err:
            raise UsageError(f"hydra.launcher: {' '.join(str(err).split())}") from err
        jobs = [SlurmJob(dict(p.config or {}), p.directory, self._resume) for p in points]
        try:
            submitted = executor.submit_array(jobs)
        except (FailedJobError, FailedSubmissionError) as err:
            raise UsageError(f"Slurm refused the jobs: {' '.join(str(err).split())}") from err
        return {point.id: job.job_id for point, job in zip(points, submitted, strict=True)}

    def _wait(self, points: Sequence[Point], jobs: Mapping[str, str]) -> None:
        left = {point.id: point for point in points}
        missed: set[str] = set()  # not in the queue when last looked; files may arrive later than that
        with bar("running the sweep on Slurm", len(points)) as advance:
            while left:
                states = living(jobs[key] for key in left)
                for key, point in list(left.items()):
                    state, gone = point.state.state, states is not None and jobs[key] not in states
                    if not gone and state != DONE:
                        missed.discard(key)
                    elif state not in (DONE, FAILED) and key not in missed:
                        missed.add(key)
                    else:
                        self._settle(point, jobs[key])
                        del left[key]
                        say_ended(point)
                        advance(1)
                if left:
                    time.sleep(self.poll_s)

    def _settle(self, point: Point, job: str) -> None:
        log = self.sweep.directory / FOLDER / f"{job}_0_log.err"
        mark_killed(point.directory, f"the Slurm job {job} ended as {cause_of_death(job)}", tail(log), True)
