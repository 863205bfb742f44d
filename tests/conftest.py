"""Shared fixtures, and which tests need what."""

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from fuse_repro.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each of several processes compiles its share of the test files first, and leaves it on disk for the others.

    In a fresh checkout every process would compile every file, at the same time: 8 seconds of CPU for each process.
    """
    mine = getattr(session.config, "workerinput", None)
    if mine is None or sys.dont_write_bytecode or session.config.option.file_or_dir:
        return
    number, count = int(mine["workerid"].removeprefix("gw")), mine["workercount"]
    for path in sorted(Path(__file__).parent.rglob("test_*.py"))[number::count]:
        if sys.path[0] != str(path.parent):
            sys.path.insert(0, str(path.parent))  # as pytest does
        with suppress(Exception, pytest.skip.Exception):  # what is wrong with it is said when it is collected
            importlib.import_module(path.stem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that waits longest, for jobs of Slurm, begins first, so that it is not left over in the end."""
    items.sort(key=lambda item: item.path.name != "test_sweep_slurm.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs CUDA")


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_from_elsewhere() -> None:
    """What lives when a file of tests begins, libraries and all tests, is left out of every full pass of the collector.

    A pass over it takes up to half a second and finds nothing, and passes are made less often than by default.
    """
    gc.set_threshold(2000, 20, 10)
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    """Without a network, tests of weights that are not in the cache are skipped; in CI they never are."""
    try:
        return (yield)
    except UsageError as error:
        if item.get_closest_marker("weights") and not IN_CI and "check the network" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, where there is one."""
    folder = os.environ.get("FUSE_REPRO_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FUSE_REPRO_DATA names no folder of data sets")
    return Path(folder)


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)
