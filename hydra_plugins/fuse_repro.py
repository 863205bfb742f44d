"""Where Hydra looks for plugins: the launchers and sweepers of fuse_repro, by the names that conf/hydra uses."""

from fuse_repro.sweeps import grid, local, optuna_search, slurm


class LocalLauncher(local.LocalLauncher):
    """The class behind hydra/launcher=local."""


class SlurmLauncher(slurm.SlurmLauncher):
    """The class behind hydra/launcher=slurm."""


class GridSweeper(grid.GridSweeper):
    """The class behind hydra/sweeper=grid."""


class OptunaSweeper(optuna_search.OptunaSweeper):
    """The class behind hydra/sweeper=optuna."""
