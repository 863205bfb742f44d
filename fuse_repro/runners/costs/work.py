"""Units of what a run computes: equal forward passes of one model."""

from dataclasses import dataclass

from fuse_repro.models.sizes import ModelSize
from fuse_repro.runners.costs.data_sizes import DataSize

AND_BACK = 2  # a forward and a backward pass; weights are frozen, so back costs as much as forth


@dataclass(frozen=True)
class Work:
    """Equal forward passes of one model.

    role: whose. what: for messages. passes: how many; tokens: of each, 0 for images. times: 1, or `AND_BACK`.
    shared: what makes the work the same in several runs, which do it once between them; "" where nothing does.
    """

    role: str
    what: str
    passes: float
    tokens: float
    times: int = 1
    shared: str = ""

    def operations(self, size: ModelSize) -> float:
        """Floating-point operations; a multiply-add counts as two."""
        each = size.per_token * self.tokens if self.tokens else size.per_image
        return 2 * each * self.passes * self.times


Counted = tuple[DataSize, list[Work]]
