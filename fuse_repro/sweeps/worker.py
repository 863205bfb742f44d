"""The process that runs one point."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fuse_repro.runs.signals import sigterm_raises, told_to_stop

EXIT_FAILED = 1


def run_point(config: Mapping[str, Any], directory: Path) -> bool:
    """Run a point in this process; true if it is done, even with failed items.

    Its status.json says what went wrong.
    """
    from fuse_repro.runners.launch import launch

    composed = OmegaConf.create(dict(config))
    assert isinstance(composed, DictConfig)
    OmegaConf.set_struct(composed, True)
    return launch(composed, directory) != EXIT_FAILED


def run_alone(
    config: Mapping[str, Any], directory: Path, log: Path, environment: Mapping[str, str], threads: int | None
) -> None:
    """The whole life of a process that runs one point.

    Args:
        config: of the point.
        directory: of its run.
        log: the file that its output is added to.
        environment: the variables of the process.
        threads: of torch; None is whatever is there.
    """
    _die_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    _redirect(log)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        with sigterm_raises():
            done = run_point(config, directory)
    except BaseException as error:
        if not told_to_stop(error):
            raise
        done = False
    sys.exit(0 if done else EXIT_FAILED)


def _die_with_parent() -> None:
    """A sweep that is killed takes its points with it, at any moment; they go on from their records."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(sentinel: int = parent.sentinel) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _redirect(log: Path) -> None:
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
