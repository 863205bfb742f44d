"""Where Hydra looks for plugins: the launchers and sweepers of fuse_repro, by the names that conf/hydra uses."""

from fuse_repro.sweeps import grid, local, optuna_search, slurm


class LocalLauncher(local.LocalLauncher):
    """hydra/launcher=local."""


class SlurmLauncher(slurm.SlurmLauncher):
    """hydra/launcher=slurm."""


class GridSweeper(grid.GridSweeper):
    """hydra/sweeper=grid."""


class OptunaSweeper(optuna_search.OptunaSweeper):
    """hydra/sweeper=optuna."""
