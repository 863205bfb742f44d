"""The command in a process of its own, forked from the server that sweeps fork their points from.

The server has loaded the libraries, which takes a new interpreter seven seconds of CPU. What only a new interpreter
shows (what is imported, variables that libraries read at their start) is tested with `python -m fuse_repro.cli`.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from fuse_repro.cli import main
from fuse_repro.sweeps.pool import PRELOAD


def start(arguments: Sequence[str], said: Path, where: Path, **variables: str) -> BaseProcess:
    """Begin the command.

    Args:
        arguments: of the command.
        said: the file for what it prints, on standard output and on standard error.
        where: its working directory.
        variables: of its environment, beside those of this process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    process = context.Process(target=_run, args=(list(arguments), said, where, os.environ | variables))
    process.start()
    return process


def _run(arguments: list[str], said: Path, where: Path, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(where)
    with said.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.exit(main(arguments))
