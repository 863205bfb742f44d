"""Discretisation: every prompt row becomes its nearest word, and the words are moved (PTfer, Table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.base import EmbeddingMap, fit_values
from fuse_repro.adapters.prompt_checks import check_prompt
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.alignment.words import CARRIER
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel

TRIED = 64  # nearest tokens looked at for one that the target model can write


class DiscretisedMap(EmbeddingMap):
    """Prompt row -> nearest source token -> its text -> the target's embedding of that text.

    The nearest token is never a special token, nor one that the target has no text for. Text after a space is
    tokenised as a word of running text. Where the target needs several tokens, their mean (several="mean") or
    the first of them ("first") stands for the text, so that m stays the same.
    """

    def __init__(self, source: FrozenModel, target: FrozenModel, distance: str, several: str) -> None:
        super().__init__(source, target)
        self.distance, self.several = distance, several

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
        distance: str = "cosine",
        several: str = "mean",
    ) -> Self:
        """The map between these models; nothing is fitted.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: not used.
            cache_dir: not used.
            distance: what is nearest, by "cosine" or "euclidean".
            several: what stands for a token that the target writes with several: their "mean", or the
                "first".

        Raises:
            UsageError: settings out of range.
        """
        cls.check(distance=distance, several=several)
        return cls(source, target, distance, several)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        values = fit_values(cls.fit, settings)
        distance, several = values["distance"], values["several"]
        require(distance in ("cosine", "euclidean"), "adapter.distance", distance, "cosine or euclidean")
        require(several in ("mean", "first"), "adapter.several", several, "mean or first")

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t].

        Raises:
            UsageError: a prompt of another shape, or with NaN or infinite values.
        """
        rows = []
        for ids in self.target_ids(prompt):
            embeddings = self.target.embed(torch.tensor(ids, device=self.target.device))
            rows.append(embeddings.mean(0) if self.several == "mean" else embeddings[0])
        return torch.stack(rows).to(prompt)

    def target_ids(self, prompt: Tensor) -> list[tuple[int, ...]]:
        """The target tokens of every row of a prompt [m, d_s], that is, of the text that it is taken for."""
        check_prompt(prompt, self.source)
        places = self._similarity(prompt).topk(min(TRIED, len(self._tokens)), dim=1).indices
        return [self._first_written(row) for row in self._tokens[places].tolist()]

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Zero [B, S_s, d_s]: the exact derivative of a map that is constant almost everywhere."""
        return gradient.new_zeros(alignment.rows, alignment.source_length, self.source.embedding_size)

    @cached_property
    def _tokens(self) -> Tensor:
        """The ids of the source's tokens that are not special: [T]."""
        tokenizer = self.source.tokenizer
        ids = [index for index in range(tokenizer.vocab_size) if index not in tokenizer.special_ids]
        return torch.tensor(ids, device=self.source.device)

    def _similarity(self, prompt: Tensor) -> Tensor:
        """How near every row is to every token: [m, T], higher is nearer."""
        with torch.no_grad():
            table = self.source.embed(self._tokens)
        prompt = prompt.detach().to(table)
        if self.distance == "euclidean":
            return -torch.cdist(prompt, table)
        return normalize(prompt, dim=1) @ normalize(table, dim=1).T

    def _first_written(self, candidates: Sequence[int]) -> tuple[int, ...]:
        """The target tokens of the nearest source token that has any.

        Raises:
            UsageError: the target can write none of the candidates.
        """
        for token in candidates:
            ids = self._in_target(token)
            if ids and self.target.tokenizer.special_ids.isdisjoint(ids):
                return ids
        raise UsageError(
            f"{self.target.name} can write none of the {len(candidates)} tokens of {self.source.name} nearest to a "
            "prompt row: use another map"
        )

    def _in_target(self, token: int) -> tuple[int, ...]:
        text = self._text(token)
        word = text.strip()
        if "\ufffd" in text or not word:
            return ()
        if text[0].isspace() and word.split() == [word]:
            return self.target.tokenizer.word_ids([word])[0]
        return tuple(self.target.tokenizer.encode([word])[0])

    def _text(self, token: int) -> str:
        """How a source token continues a text: with its leading space, where it has one."""
        tokenizer = self.source.tokenizer
        carrier = tokenizer.encode([CARRIER])[0]
        before, after = tokenizer.decode([carrier, [*carrier, token]])
        return after.removeprefix(before)
