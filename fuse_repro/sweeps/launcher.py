"""What the launchers share: points are planned, entered where the policy wants it, and reported to Hydra."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from fuse_repro.data.shards import KEYS, SHARD_KEY, Division
from fuse_repro.errors import UsageError, require
from fuse_repro.progress import track
from fuse_repro.runners.terms_of_use import unaccepted
from fuse_repro.runs.directory import resume_policy
from fuse_repro.runs.provenance import config_hash
from fuse_repro.runs.shard_runs import undivided
from fuse_repro.runs.state import DONE, wanted
from fuse_repro.shown import say
from fuse_repro.sweeps.compose import compose_point, sweep_identity, swept
from fuse_repro.sweeps.sweep import Point, Sweep, open_sweep


class PointFailed(Exception):
    """A point of a sweep is not done; the text is its error or its state."""


class PointLauncher(Launcher):
    """A Hydra launcher whose jobs are points of a sweep directory."""

    sweep: Sweep

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Open the sweep's directory; nothing is written yet.

        Raises:
            UsageError: if another sweep is in it, or for an unknown `resume`.
        """
        setup_globals()
        self._loader, self._config = hydra_context.config_loader, config
        self._resume = resume_policy(config)
        self._axes = [override.get_key_element() for override in swept(config, self._loader)]
        identity = sweep_identity(config, self._loader)
        given = config.hydra.sweep.dir
        require(
            bool(given.strip()),
            "sweep_dir",
            given,
            "name a folder, or leave it out for outputs/NAME/sweep_HASH",
        )
        directory = Path(given.replace("{id}", identity))
        self.sweep = open_sweep(directory, identity, config.name, list(config.hydra.overrides.task))
        self._planned: dict[tuple[str, ...], Point] = {}

    def plan(self, job_overrides: Sequence[Sequence[str]]) -> list[Point]:
        """Compose the points, each once, and write them to sweep.json when all are known to be legal.

        If some of the new points would be refused for terms of use, that is printed.

        Raises:
            UsageError: if every new point would be refused for terms of use.
        """
        missing = [tuple(overrides) for overrides in job_overrides if tuple(overrides) not in self._planned]
        for overrides in track(missing, "composing the points"):
            self._planned[overrides] = compose_point(
                self._loader, self._config, overrides, self._axes, self.sweep.directory
            )
        new = [self._planned[overrides] for overrides in missing]
        _check_terms(new)
        if SHARD_KEY in self._axes:
            _check_shards(new)
        points = [self._planned[tuple(overrides)] for overrides in job_overrides]
        self.sweep.add(points)
        return points

    def print_costs(self, job_overrides: Sequence[Sequence[str]]) -> None:
        """Say what the points would cost; nothing is run or written."""
        from fuse_repro.runners.costs.dry_run import print_costs
        from fuse_repro.runners.local_models import with_models_dir

        points = [
            compose_point(self._loader, self._config, overrides, self._axes, self.sweep.directory)
            for overrides in track(job_overrides, "composing the points")
        ]
        distinct = {point.id: point.config for point in points}.values()
        configs = [OmegaConf.create(dict(config or {})) for config in distinct]
        print_costs([with_models_dir(config) for config in configs])

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the points that are to be run; a failed one raises only when its return value is asked for."""
        points = self.plan(job_overrides)
        distinct = {point.id: point for point in points}.values()
        chosen = [point for point in distinct if wanted(point.directory, self._resume)]
        if len(chosen) < len(distinct):
            say(f"{len(distinct) - len(chosen)} points are left as they are")
        self.run_points(chosen)
        pairs = zip(points, job_overrides, strict=True)
        return [_job_return(point, overrides) for point, overrides in pairs]

    @abstractmethod
    def run_points(self, points: Sequence[Point]) -> None:
        """Run these points; what goes wrong in a point is noted in its status.json."""

    @property
    def leaves_early(self) -> bool:
        """Whether points are still to come when `launch` has returned."""
        return False


def _check_terms(points: Sequence[Point]) -> None:
    """Say before the first point starts which models' terms of use are not accepted yet."""
    notes = [note for point in points if (note := unaccepted(point.config or {}))]
    said = "; ".join(dict.fromkeys(notes))
    if notes and len(notes) == len(points):
        raise UsageError(said)
    if notes:
        say(f"{len(notes)} of {len(points)} points will fail: {said}")


def _check_shards(points: Sequence[Point]) -> None:
    """Find out before the first point starts whether the data sets can be cut into so many shards."""
    from fuse_repro.runners.shards import check_shard  # loads Lightning

    seen: set[tuple[str, int]] = set()
    for point in points:
        config = dict(point.config or {})
        Division(**{key: config["dataset"][key] for key in KEYS})
        key = (config_hash(undivided(config)), config["dataset"]["shards"])
        if key not in seen:
            check_shard(OmegaConf.create(config))
        seen.add(key)


def _job_return(point: Point, overrides: Sequence[str]) -> JobReturn:
    state = point.state
    result: Any = point if state.state == DONE else PointFailed(state.error or state.state)
    status = JobStatus.COMPLETED if state.state == DONE else JobStatus.FAILED
    job = JobReturn(overrides=overrides, status=status, working_dir=str(point.directory))
    job.return_value = result
    return job
