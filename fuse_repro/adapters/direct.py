"""Direct transfer: the source's prompt as it is (PTfer, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch

from fuse_repro.adapters.linear import LinearMap
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel


class DirectMap(LinearMap):
    """The identity, for models of equal embedding size."""

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
    ) -> Self:
        """The identity; nothing is fitted, and there are no settings.

        Raises:
            UsageError: models of different embedding sizes.
        """
        sizes = (source.embedding_size, target.embedding_size)
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"direct transfer needs equal embedding sizes, but {source.name} has {sizes[0]} and {target.name} "
                f"has {sizes[1]}: use adapter=relative or another map"
            )
        return cls(source, target, torch.eye(sizes[0]))
