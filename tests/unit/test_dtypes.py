"""The one table of number formats is torch's, and can be read without torch."""

import subprocess
import sys

import pytest
import torch

from fuse_repro.dtypes import BYTES, FITS, WEIGHTS, torch_dtype


@pytest.mark.parametrize("name", BYTES)
def test_names_and_sizes_are_torchs(name: str) -> None:
    assert str(torch_dtype(name)) == f"torch.{name}"
    assert torch_dtype(name).itemsize == BYTES[name]
    assert torch.zeros(1, dtype=torch_dtype(name)).dtype == torch_dtype(name)


def test_every_list_is_of_this_table() -> None:
    assert {*WEIGHTS, *FITS} == BYTES.keys()


def test_sizes_are_read_without_torch() -> None:
    code = "import sys; import fuse_repro.models.sizes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
