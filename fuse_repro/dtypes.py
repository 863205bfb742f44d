"""Number formats by name, as settings write them: their size, and who may use which. Importable without torch."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}  # of one number
WEIGHTS = ("float32", "bfloat16", "float16")  # of frozen models, and of stored tables of embeddings
FITS = ("float32", "float64")  # of maps while they are fitted
CGROUPS = Path("/sys/fs/cgroup")  # where Linux says what a container or a job may use


def torch_dtype(name: str) -> "torch.dtype":
    """The dtype of torch for the format `name`, one of `BYTES`."""
    import torch

    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def for_memory(dtype: str, least_gb: float) -> str:
    """`dtype`, or bfloat16 instead of float32 where this machine has too little memory for a large model.

    Args:
        dtype: one of `WEIGHTS`; any but float32 is left as it is.
        least_gb: memory in 10^9 bytes from which on float32 is kept.
    """
    return "bfloat16" if dtype == "float32" and memory_bytes() < least_gb * 1e9 else dtype


def memory_bytes() -> int:
    """Memory of this machine, or what its container or job may use of it."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (
        AttributeError,
        OSError,
        ValueError,
    ):  # not to be known on this system: then nothing is changed for it
        return 1 << 62
    return min([physical, *_limits(CGROUPS, Path("/proc/self/cgroup"))])


def _limits(root: Path, own: Path) -> Iterator[int]:
    """The limits of the control groups that this process is in, outermost first; none where there are none."""
    try:
        named = [line.split(":", 2)[2].strip("/") for line in own.read_text().splitlines()]
    except (OSError, IndexError, UnicodeDecodeError):
        named = []
    for group in dict.fromkeys(["", *named]):
        inner = root / group
        for folder in (inner, *(outer for outer in inner.parents if outer.is_relative_to(root))):
            for file in (folder / "memory.max", folder / "memory" / "memory.limit_in_bytes"):
                try:
                    yield int(file.read_text())
                except (OSError, ValueError):  # no limit is the word "max"
                    continue
