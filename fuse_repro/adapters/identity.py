"""The map from a model to itself: what carries the gradient of the primary model's own terms."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.linear import pull_linear
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.models.base import FrozenModel


class IdentityMap(EmbeddingMap):
    """Every embedding stays as it is, and so does every gradient.

    Where the model reads a word as other tokens than those it is written with, which happens around an open token, each
    of the latter is given its share of the word's gradient.

    Args:
        model: both the source and the target.
    """

    def __init__(self, model: FrozenModel) -> None:
        super().__init__(model, model, shared_tokenizer=True)

    def transfer(self, prompt: Tensor) -> Tensor:
        """The prompt [m, d] itself."""
        return prompt

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d] -> [B, S_s, d]: the same where every token stands for itself."""
        return pull_linear(gradient, alignment, None)

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are those of embeddings."""
        return pull_linear(gradient, alignment, None, positions)
