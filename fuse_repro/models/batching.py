"""Batches as large as memory allows."""

from collections.abc import Callable

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require


class AutoBatch:
    """Applies a function to rows, batch by batch; a batch that does not fit in memory is halved.

    The size that fitted is kept for later calls, so that memory runs out only a few times in a run.

    Args:
        name: whose rows they are, for messages.
        size: rows of a batch at first.

    Raises:
        UsageError: a size below 1.
    """

    def __init__(self, name: str, size: int) -> None:
        require(size >= 1, f"{name}: batch size", size, "at least 1")
        self.name, self.size = name, size

    def __call__(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`function` of all rows [B, ...], in order; it must treat every row by itself.

        Raises:
            UsageError: one row alone does not fit in memory.
        """
        parts, begin = [], 0
        while begin < len(rows):
            part = rows[begin : begin + self.size]
            try:
                parts.append(function(part))
            except torch.OutOfMemoryError as err:
                if len(part) == 1:
                    raise UsageError(
                        f"{self.name}: one text does not fit in memory; free some or use device=cpu"
                    ) from err
                self.size = len(part) // 2
                continue
            begin += len(part)
        return torch.cat(parts) if parts else function(rows)
