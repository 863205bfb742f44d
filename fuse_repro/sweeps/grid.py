"""The default sweeper: every combination of the values given."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fuse_repro.errors import UsageError, require
from fuse_repro.sweeps.compose import last_overrides
from fuse_repro.sweeps.launcher import PointLauncher
from fuse_repro.sweeps.outcome import conclude


class PointSweeper(Sweeper):
    """A sweeper that leaves the points to a launcher of this package."""

    launcher: PointLauncher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher.

        Raises:
            UsageError: the launcher is none of this package.
        """
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        choice = config.hydra.runtime.choices.get("hydra/launcher")
        if not isinstance(launcher, PointLauncher):
            raise UsageError(f"hydra/launcher={choice} cannot resume a sweep: use local or slurm")
        self.launcher = launcher
        self.config, self.loader = config, hydra_context.config_loader


class GridSweeper(PointSweeper):
    """Every combination, all of them composed before the first one runs; a failed point stops no other."""

    def __init__(self, params: Mapping[str, str] | None = None, max_batch_size: int | None = None) -> None:
        size = max_batch_size
        allowed = "a whole number of at least 1, or null for one batch"
        require(size is None or size >= 1, "hydra.sweeper.max_batch_size", size, allowed)
        self.params, self.max_batch_size = params or {}, size

    def sweep(self, arguments: list[str]) -> Any:
        """Run every point.

        Raises:
            UsageError: if a key has no value, so that there is no point.
            SweepIncomplete: at the end, if a point is not done.
        """
        jobs = grid_points(self.params, arguments, self.loader)
        if self.config is not None and self.config.get("dry_run"):
            self.launcher.print_costs(jobs)
            return None
        self.launcher.plan(jobs)
        size = self.max_batch_size or len(jobs)
        for begin in range(0, len(jobs), size):
            self.launcher.launch(jobs[begin : begin + size], begin)
        if not self.launcher.leaves_early:
            conclude(self.launcher.sweep)
        return self.launcher.sweep


def grid_points(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """The overrides of every point of a grid.

    Args:
        params: key -> values of the named grids.
        arguments: the overrides of the command; those of a key that is in `params` replace it.
        loader: knows the options that glob() chooses from.

    Raises:
        UsageError: if a key has no value, so that there is no point.
    """
    overrides = last_overrides(params, arguments, loader)
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    if not jobs:
        empty = [str(o.input_line) for o in overrides if o.is_sweep_override() and _is_empty(o)]
        raise UsageError(f"the grid is empty: {', '.join(empty)} has no value; give KEY=A,B,C or sweep=NAME")
    return jobs


def _is_empty(override: Override) -> bool:
    return not list(override.sweep_iterator())
