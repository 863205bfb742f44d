"""Batches as large as memory allows: one rule for every model, for forward passes with and without gradients."""

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require
from fuse_repro.shown import say

T = TypeVar("T")
GROWTH = 32  # how many times its first size a batch may reach on a device that says when its memory is full
PATIENCE = 8  # full batches that must fit before a batch of twice the size is tried; doubled by every failure
AGAIN = 16  # times that patience, before a size that failed is tried once more: other work may have ended
SIGNS = (
    "out of memory",  # CUDA, ROCm, XPU, MPS
    "can't allocate memory",  # torch on a CPU
    "not enough memory",  # the same on Windows
    "_status_alloc_failed",  # cuBLAS, cuDNN, cuSOLVER, cuSPARSE
    "bad_alloc",  # libraries that torch calls
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS)


class AutoBatch:
    """Applies a function to rows, batch by batch; a batch that does not fit in memory is halved.

    The size that fitted is kept for later calls. It is doubled again once enough full batches have fitted: soon, up to
    a size that has not failed; much later, at a size that has. Every failure doubles the wait, so failures stay rare.
    What it settled on is said once.

    Args:
        name: of the model, for messages.
        size: rows of a batch at first.
        unit: what a row is, in the singular.
        most: the most rows of a batch; None: no more than at first.

    Attributes:
        size: rows of a batch now.

    Raises:
        UsageError: a size below 1.
    """

    def __init__(self, name: str, size: int, unit: str = "text", most: int | None = None) -> None:
        require(size >= 1, f"{name}: batch size", size, "at least 1")
        self.name, self.size, self.unit = name, size, unit
        self.most = max(size, most or size)
        self._failed: int | None = None
        self._patience, self._fitted, self._said = PATIENCE, 0, False

    def __call__(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`function` of all rows [B, ...], in order; it must treat every row by itself.

        Raises:
            UsageError: one row alone does not fit in memory.
        """
        parts = [result for _, result in self.each(len(rows), lambda part: function(rows[part]))]
        return torch.cat(parts) if parts else function(rows)

    def each(self, count: int, function: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """Apply a function to consecutive parts of `count` rows.

        Args:
            count: how many rows there are.
            function: takes the rows' numbers as a slice. It is called anew with fewer rows where memory runs out, so
                what it changes must not matter before it returns. It may take gradients.

        Yields:
            Every part that fitted, with what the function gave for it.

        Raises:
            UsageError: one row alone does not fit in memory.
        """
        begin = 0
        while begin < count:
            part = slice(begin, min(begin + self.size, count))
            try:
                result = function(part)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._shrink(part.stop - begin, error)
            else:
                yield part, result
                del result
                self._fits(part.stop - begin)
                begin = part.stop
                continue
            _release()  # here the error is gone, and with it the frames that held tensors
        if self._failed is not None and not self._said:
            self._said = True
            say(
                f"{self.name}: memory holds a batch of {self.size} {self.unit}s ({self._failed} were too many)"
            )

    def _shrink(self, rows: int, error: BaseException) -> None:
        if rows == 1:
            raise UsageError(
                f"{self.name}: one {self.unit} does not fit in memory; free some, take a smaller model or use "
                "trainer=cpu"
            ) from error
        self._failed, self.size = rows, rows // 2
        self._patience, self._fitted = 2 * self._patience, 0

    def _fits(self, rows: int) -> None:
        larger = min(2 * self.size, self.most)
        if rows < self.size or larger == self.size:
            return
        self._fitted += 1
        failed = self._failed is not None and larger >= self._failed
        if self._fitted >= self._patience * (AGAIN if failed else 1):
            self.size, self._fitted = larger, 0


def most_rows(device: torch.device, size: int) -> int:
    """How far a batch that starts at this size may grow.

    Not at all on a CPU, where larger batches gain little, and where a system that is out of memory may end the process
    without an error.
    """
    return size if device.type == "cpu" else GROWTH * size


def _release() -> None:
    """Give memory that nothing uses any more back to the device."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
