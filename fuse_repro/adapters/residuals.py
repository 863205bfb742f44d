"""What the ridge map leaves of the shared words: maps that add it back where a prompt row is made of words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuse_repro.adapters.anchors import Anchors
from fuse_repro.adapters.linear import LinearMap, ridge_part
from fuse_repro.models.base import FrozenModel
from fuse_repro.storage import tensors as store

FORMAT = 1
STRIP = 4096  # words whose residuals are computed together


class ResidualMap(LinearMap):
    """v -> ridge(v) + correction(v), where the correction is made of the words' residuals r_i = y_i - ridge(x_i).

    Its pullback is that of the linear part: the correction is not linear, and where a gradient is asked for,
    at words, its own slope is small.

    Attributes:
        words: [K, d_s], the words' source embeddings from their mean, float32.
        residuals: [K, d_t], float32.
    """

    words: Tensor
    residuals: Tensor

    def __init__(
        self, source: FrozenModel, target: FrozenModel, anchors: Anchors, linear: dict[str, Tensor]
    ) -> None:
        """Keep the linear part, and what it leaves of the anchors.

        Args:
            source: see `EmbeddingMap`.
            target: see `EmbeddingMap`.
            anchors: the shared words.
            linear: weight, source_mean and target_mean, as `ridge_part` gives them.
        """
        super().__init__(source, target, linear["weight"], linear["source_mean"], linear["target_mean"])
        x, y = (side.to(source.device) for side in anchors.embeddings([source, target]))
        left = [
            b.double() - super(ResidualMap, self).transfer(a.double())
            for a, b in zip(x.split(STRIP), y.split(STRIP), strict=True)
        ]
        self.register_buffer("words", (x.double() - self.source_mean.double()).float())
        self.register_buffer("residuals", torch.cat(left).float())

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t]; every row for itself.

        Raises:
            UsageError: a prompt of another shape, or with NaN or infinite values.
        """
        linear = super().transfer(prompt)
        rows = prompt.to(self.words.device, torch.float64) - self.source_mean.double()
        return linear + self.correction(rows).to(linear)

    @abstractmethod
    def correction(self, rows: Tensor) -> Tensor:
        """What is added for rows [m, d_s], seen from the words' mean, float64: [m, d_t], float64."""


def key_of(
    kind: str, source: FrozenModel, target: FrozenModel, anchors: Anchors, **settings: Any
) -> dict[str, Any]:
    """Everything that a fit of this kind depends on."""
    return {
        "kind": kind,
        "format": FORMAT,
        "source": source.fingerprint,
        "target": target.fingerprint,
        "anchors": store.words_digest(anchors.words),
        "ids": [store.digest(ids.tolist()) for ids in anchors.ids],
        "settings": settings,
    }


def kept_linear_part(
    source: FrozenModel,
    target: FrozenModel,
    anchors: Anchors,
    centre: bool,
    ridge: float,
    cache_dir: Path | None,
) -> dict[str, Tensor]:
    """`ridge_part`, found in the cache or made and kept there."""
    d_s, d_t = source.embedding_size, target.embedding_size
    shapes: dict[str, Sequence[int]] = {"weight": (d_s, d_t), "source_mean": (d_s,), "target_mean": (d_t,)}
    expect = {name: store.Expected(tuple(shape)) for name, shape in shapes.items()}
    inputs = key_of("ridge", source, target, anchors, centre=centre, ridge=ridge)
    found = store.kept(cache_dir, inputs, expect, lambda: ridge_part(source, target, anchors, centre, ridge))
    return {name: value.to(source.device) for name, value in found.items()}
