"""Which lines of this package have the CPU wait until the device has computed a value."""

import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fuse_repro

OURS = str(Path(fuse_repro.__file__).parent)
LIBRARIES = str(Path(torch.__file__).parents[1])
ASKING = (  # `bool`, `int`, `float` and `item` of a tensor are the first; shapes of the others depend on values
    "_local_scalar_dense",
    "equal",
    "masked_select",
    "nonzero",
)
INDEXING = ("index", "index_put", "index_put_")


class Asked(TorchDispatchMode):
    """Collects them while it is on; `tolist`, which copies a whole result at once, is not among them.

    Attributes:
        lines: "file.py: the line", and how often; of operators that transformers calls, nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ASKING or (name in INDEXING and any(map(_chooses, args[1]))):
            frames = [frame for frame in traceback.extract_stack() if _counts(frame.filename)]
            if frames and frames[-1].filename.startswith(OURS):
                self.lines[f"{Path(frames[-1].filename).name}: {frames[-1].line}"] += 1
        return func(*args, **(kwargs or {}))


def _chooses(index: Any) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _counts(file: str) -> bool:
    """Whether a frame says who asks: this package, or another one than torch."""
    return file.startswith(OURS) or (
        file.startswith(LIBRARIES) and not file.startswith(str(Path(torch.__file__).parent))
    )
