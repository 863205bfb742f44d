"""What a run shows beside its records: metrics.csv and wandb. records.jsonl stays the truth.

Each function is a `_target_` of conf/logger and gives the observers of the run in `directory`.
"""

import os
from pathlib import Path
from typing import Any

from fuse_repro.loggers.csv_logger import CsvLogger
from fuse_repro.loggers.wandb_settings import WandbSettings, settled
from fuse_repro.runs.observers import Observer
from fuse_repro.shown import say

__all__ = ["CsvLogger", "WandbSettings", "csv_loggers", "no_loggers", "wandb_loggers"]


def no_loggers(directory: Path) -> list[Observer]:
    return []


def csv_loggers(directory: Path) -> list[Observer]:
    return [CsvLogger(directory)]


def wandb_loggers(directory: Path, **settings: Any) -> list[Observer]:
    """metrics.csv and a wandb run; wandb is imported only where it is not disabled.

    Names that wandb does not take are mended, which is said in a line each.

    Args:
        directory: of the run.
        **settings: see WandbSettings; what is not given, wandb's environment variables say.

    Raises:
        UsageError: settings that WandbSettings does not allow, or variables that name a mode that there is not.
    """
    chosen, lines = settled(WandbSettings(**settings), os.environ)
    if chosen.mode == "disabled":
        return csv_loggers(directory)
    for line in lines:
        say(line, "wandb")
    from fuse_repro.loggers.wandb_logger import WandbLogger

    return [CsvLogger(directory), WandbLogger(directory, chosen)]
