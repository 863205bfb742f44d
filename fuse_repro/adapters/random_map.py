"""A map that knows nothing: the baseline that every fitted map has to beat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.fuse.pull import RandomMaps, pull_words
from fuse_repro.alignment.pairs import Alignment, WordPair
from fuse_repro.models.base import FrozenModel


class RandomMap(EmbeddingMap):
    """Independent normal entries, scaled so that mapped embeddings are as long as the target's own."""

    def __init__(self, source: FrozenModel, target: FrozenModel, seed: int = 0) -> None:
        super().__init__(source, target)
        lengths = [
            float(model.embedding_table().float().square().sum(1).mean()) for model in (source, target)
        ]
        std = (lengths[1] / lengths[0] / target.embedding_size) ** 0.5
        self._maps = RandomMaps((source.embedding_size, target.embedding_size), std, seed)

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
        seed: int = 0,
    ) -> Self:
        """The map drawn with `seed`; nothing is fitted, and `words` and `cache_dir` are not used."""
        return cls(source, target, seed)

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t]."""
        return prompt @ self._maps.like(1, prompt)[..., 0]

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s]; a random direction for every word."""
        return self.pull_tokens(gradient, alignment, range(alignment.source_length))

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are those of embeddings."""
        groups: dict[int, list[WordPair]] = defaultdict(list)
        for word in alignment.words_of(positions):
            groups[max(word.source_count, word.target_count)].append(word)
        column = {position: place for place, position in enumerate(positions)}
        result = gradient.new_zeros(alignment.rows, len(column), self.source.embedding_size)
        for depth, words in groups.items():
            pull_words(gradient, result, words, (self._maps.like(depth, gradient),), column)
        return result
