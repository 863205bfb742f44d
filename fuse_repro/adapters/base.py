"""One map between two models' embedding spaces, fitted from shared vocabulary only.

It has two uses: `transfer` moves soft prompts forward, `pullback` moves gradients backward. `forward` joins
the exact, non-differentiable re-tokenisation with the approximate gradient (FUSE, Figure 2 and eq. 5).
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from fuse_repro.alignment.last_words import last_words
from fuse_repro.alignment.pairs import Alignment, align, token_alignment
from fuse_repro.alignment.words import Tokenized
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision

Settings = TypeVar("Settings")
NO_SETTINGS = ("cache_dir", "given")


class EmbeddingMap(nn.Module, ABC):
    """A map from the source model's embeddings [*, d_s] to the target model's [*, d_t].

    The map refers to the two models and does not own them: they are no submodules and not in the state dict.

    Attributes:
        takes_several: whether `fit` takes several source models at once.
    """

    takes_several: ClassVar[bool] = False

    def __init__(self, source: FrozenModel, target: FrozenModel, shared_tokenizer: bool = False) -> None:
        super().__init__()
        self.shared_tokenizer = shared_tokenizer
        self._models = (source, target)
        self._seen: list[tuple[Tensor, Alignment]] | None = None

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str],
        *,
        cache_dir: Path | None = None,
    ) -> Self:
        """The one way to a fitted map; a map's settings are further keywords, each with a default.

        Args:
            source: the model whose prompts are moved, and that gradients are carried back to.
            target: the model that the map leads to.
            words: words of running text, for maps that are fitted from them.
            cache_dir: where fitted maps are kept and found again; None keeps nothing.

        Raises:
            UsageError: settings out of range, and models or words that no map can be fitted from.
        """
        raise NotImplementedError(f"{cls.__name__} is made from its state, and has no fit")

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Look at the settings of a fit before a model is loaded.

        Args:
            settings: keywords of `fit`.

        Raises:
            UsageError: a keyword that `fit` does not have, or a value out of range.
        """
        fit_values(cls.fit, settings)

    @property
    def source(self) -> FrozenModel:
        return self._models[0]

    @property
    def target(self) -> FrozenModel:
        return self._models[1]

    @property
    def fit_cost(self) -> dict[str, float]:
        """What the fit took whenever it was made, for records of runs; {} where only this run's seconds are known."""
        return {}

    @abstractmethod
    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] of the source model -> [m, d_t] for the target model."""

    @abstractmethod
    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient by the target's embeddings [B, S_t, d_t] -> by the source's [B, S_s, d_s].

        A map that is not linear is linearised at `alignment.point`, which `embed` fills in.
        """

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """The gradient by n source tokens of every row, in the map's own coordinates of tokens: [B, n, f].

        For most maps f is d_s, the coordinates of the token's embedding; a map that knows the vocabulary may
        have others. `score_tokens` multiplies the gradient by every token's coordinates.

        Args:
            gradient: by the target's embeddings, [B, S_t, d_t].
            alignment: of the B texts.
            positions: of the source tokens, from 0 on, each once.
        """
        return self.pullback(gradient, alignment)[:, list(positions)]

    def pull_token(self, gradient: Tensor, alignment: Alignment, position: int) -> Tensor:
        """`pull_tokens` for one source token of every row: [B, f]."""
        return self.pull_tokens(gradient, alignment, [position])[:, 0]

    def score_tokens(self, pulled: Tensor) -> Tensor:
        """First-order change of the objective with each of the source's V tokens: [B, f] -> [B, V]."""
        table = self.source.embedding_table()
        return (pulled.to(table) @ table.T).float()

    @contextmanager
    def watching(self) -> Iterator[list[tuple[Tensor, Alignment]]]:
        """Collect what `embed` returns meanwhile, so that gradients by the target's own embeddings can be taken.

        Yields:
            A list that grows by one pair for every call of `embed`: its result [B, S_t, d_t] and the
            alignment, with the point.
        """
        self._seen = []
        try:
            yield self._seen
        finally:
            self._seen = None

    def align(self, texts: Sequence[str], source: Sequence[Tokenized] | None = None) -> Alignment:
        """Tokenise `texts` with both models and pair their words.

        Args:
            texts: B texts.
            source: the source model's tokens where they are not simply the tokens of the text, as for a
                prompt whose last token is still open; None for the tokens of the text.

        Raises:
            UsageError: a text that has another number of words in `source` than in the target.
        """
        target = last_words(self.target.tokenizer).split(texts)
        device = self.target.device
        if self.shared_tokenizer:
            return token_alignment(target, device)
        return align(self.source.tokenizer.split(texts) if source is None else source, target, device)

    def embed(self, embeddings: Tensor, alignment: Alignment) -> Tensor:
        """Source embeddings [B, S_s, d_s] -> the target's own embeddings of the same texts [B, S_t, d_t].

        The values come from the target's tokenizer and table, exactly; only the gradient goes through the
        map.

        Raises:
            UsageError: embeddings that do not have the aligned texts' shape.
        """
        expected = (alignment.rows, alignment.source_length, self.source.embedding_size)
        if tuple(embeddings.shape) != expected:
            raise UsageError(
                f"embeddings have shape {tuple(embeddings.shape)}, but the text has {expected} "
                f"(texts, tokens, embedding size) in {self.source.name}: pass {self.source.name}'s embeddings "
                "of exactly this text, without special tokens"
            )
        alignment = replace(alignment, point=embeddings.detach())
        values = self.target.embed(alignment.target_ids)
        if alignment.fill is not None:
            fill = alignment.fill
            values = values.index_put((fill.rows, fill.places), fill.vectors.to(values))
        result: Tensor = _Retokenise.apply(embeddings, values, self, alignment)
        if self._seen is not None:
            self._seen.append((result, alignment))
        return result

    def forward(self, embeddings: Tensor, text: str) -> Tensor:
        """Source embeddings [S_s, d_s] of one text -> the target's embeddings [S_t, d_t] of that text.

        Raises:
            UsageError: embeddings that do not have the text's shape.
        """
        return self.embed(embeddings.unsqueeze(0), self.align([text])).squeeze(0)


class _Retokenise(torch.autograd.Function):
    """Forward: the target's own embeddings of the text. Backward: the map's pullback."""

    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, values: Tensor, embedding_map: EmbeddingMap, alignment: Alignment
    ) -> Tensor:
        ctx.embedding_map, ctx.alignment = embedding_map, alignment
        ctx.source_options = {"dtype": embeddings.dtype, "device": embeddings.device}
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        with full_precision(gradients[0].device):
            pulled = ctx.embedding_map.pullback(gradients[0], ctx.alignment)
        return pulled.to(**ctx.source_options), None, None, None


def fit_values(fit: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a fit: these, and for the others the defaults of its signature.

    Args:
        fit: takes source, target and words, and then its settings.
        settings: keyword -> value.

    Raises:
        UsageError: a keyword that the fit does not have.
    """
    keywords = list(inspect.signature(fit).parameters.values())[3:]
    known = {one.name: one.default for one in keywords if one.name not in NO_SETTINGS}
    for name in settings:
        if name not in known:
            owner = getattr(fit, "__self__", fit).__name__
            raise UsageError(
                f"adapter.{name} is no setting of {owner}, which has {', '.join(known) or 'none'}"
            )
    return known | dict(settings)


def pick(kind: Callable[..., Settings], values: Mapping[str, Any]) -> Settings:
    """An instance of the dataclass `kind`, made of those `values` that are its fields."""
    return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]
