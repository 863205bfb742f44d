"""Shared fixtures, and which tests need what."""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs CUDA")


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
