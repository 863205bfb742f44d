"""Direct transfer: the source's prompt as it is (PTfer, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fuse_repro.adapters.linear import LinearMap
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel


@dataclass(frozen=True)
class DirectConfig:
    """No settings: the map is the identity, for models of equal embedding size."""

    def fit(
        self, source: FrozenModel, target: FrozenModel, words: Sequence[str], cache_dir: Path | None = None
    ) -> LinearMap:
        """The identity; nothing is fitted. Raises UsageError for models of different embedding sizes."""
        sizes = (source.embedding_size, target.embedding_size)
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"direct transfer needs equal embedding sizes, but {source.name} has {sizes[0]} and {target.name} "
                f"has {sizes[1]}: use adapter=relative or another map"
            )
        return LinearMap(source, target, torch.eye(sizes[0]))
