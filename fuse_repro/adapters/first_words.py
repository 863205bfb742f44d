"""A map that is fitted on the first words of the corpus only: how many words does a fit need?"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel


class FirstWords:
    """The fit of another map, which is given fewer words; what it gives is that map."""

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str],
        *,
        cache_dir: Path | None = None,
        first: int,
        of: Callable[..., EmbeddingMap],
    ) -> EmbeddingMap:
        """Fit `of` on the first words.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: see `EmbeddingMap.fit`; the corpora have the most frequent ones first.
            cache_dir: see `EmbeddingMap.fit`.
            first: how many words are used.
            of: the fit of the map, with its settings.

        Raises:
            UsageError: fewer words than that, and whatever `of` raises.
        """
        require(first <= len(words), "adapter.first", first, f"at most the corpus's {len(words)} words")
        return of(source, target, words[:first], cache_dir=cache_dir)

    @classmethod
    def check(cls, first: int, of: Callable[..., EmbeddingMap]) -> None:
        """See `EmbeddingMap.check`; the settings of the other map are looked at, too."""
        require(first >= 1, "adapter.first", first, "a whole number from 1 on")
        require(callable(of), "adapter.of", of, "a map of conf/adapter")
        bound = of.func if isinstance(of, partial) else of
        check: Any = getattr(getattr(bound, "__self__", None), "check", None)
        if check is not None:
            try:
                check(**(of.keywords if isinstance(of, partial) else {}))
            except UsageError as error:
                raise UsageError(str(error).replace("adapter.", "adapter.of.", 1)) from error
