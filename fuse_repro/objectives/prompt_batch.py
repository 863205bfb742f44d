"""What a search hands to the objective: candidate prompts and what is already known of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment, Fill
from fuse_repro.alignment.words import Tokenized, WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

NEUTRAL_WORD = "thing"
DUMMIES = ("auto", "mask")  # any other text stands for itself


@dataclass(frozen=True)
class OpenSlot:
    """One token of every prompt that is not chosen yet: where an objective is linearised.

    Attributes:
        tokens: the primary model's tokens of every prompt, with one for the slot.
        before: the text before every slot.
        fillers: what secondary models read in every slot. "mask" is their own mask token. "auto" is that
            token where they have one, else a neutral word. Both stand as a word of their own. Any other text
            is put in as it stands (" dog" is a new word, "s" goes on with the last one).
        position: which of the primary model's tokens the slot is, in every row.
        after: the text after every slot.
        vectors: gives the slot's embeddings [B, d_t] in a secondary model; None for the filler's own.
    """

    tokens: Sequence[Tokenized]
    before: Sequence[str]
    fillers: Sequence[str]
    position: int
    after: Sequence[str] = ()
    vectors: Callable[[FrozenModel], Tensor] | None = None

    def texts(self, tokenizer: WordTokenizer) -> list[str]:
        """What a model with this tokenizer reads."""
        after = self.after or [""] * len(self.before)
        rows = zip(self.before, self.fillers, after, strict=True)
        return [f"{before}{self._filler(filler, tokenizer)}{end}" for before, filler, end in rows]

    def align(self, adapter: EmbeddingMap) -> Alignment:
        """The prompts' words in the primary model and in the adapter's target."""
        return self.filled(adapter.align(self.texts(adapter.target.tokenizer), self.tokens), adapter.target)

    def filled(self, alignment: Alignment, model: FrozenModel) -> Alignment:
        """An alignment of the texts with the slot's own embeddings in place of the filler's, where there are any."""
        if self.vectors is None:
            return alignment
        words = alignment.words_at(self.position)
        vectors = self.vectors(model)
        places = [
            (row, place)
            for row, word in enumerate(words)
            if word is not None
            for place in range(word.target_start, word.target_stop)
        ]
        rows, columns = (torch.tensor(side, device=vectors.device) for side in zip(*places, strict=True))
        return replace(alignment, fill=Fill(rows, columns, vectors[rows]))

    def _filler(self, filler: str, tokenizer: WordTokenizer) -> str:
        if filler == "mask" and tokenizer.mask_token is None:
            raise UsageError("a secondary model has no mask token: linearise at another word, or at auto")
        return f" {tokenizer.mask_token or NEUTRAL_WORD}" if filler in DUMMIES else filler


@dataclass(frozen=True)
class PromptBatch:
    """B candidate prompts.

    Attributes:
        texts: the B prompts.
        targets: term name -> what it aims at, as the term itself prepares it; an embedding [e] for terms that match.
        nll: [B], summed negative log-likelihood of each prompt's tokens under the primary model, in nats.
        scored: [B], the number of tokens in that sum.
        embeddings: [B, S, d], the primary model's embeddings, where a gradient by them is wanted.
        slot: the prompts' open token, if one of `embeddings` is not chosen yet.
        ahead: term name -> what `carried` gave for the term already, and will give again.
    """

    texts: Sequence[str]
    targets: Mapping[str, Any] = field(default_factory=dict)
    nll: Tensor | None = None
    scored: Tensor | None = None
    embeddings: Tensor | None = None
    slot: OpenSlot | None = None
    ahead: dict[str, tuple[Tensor, Alignment]] = field(default_factory=dict)

    def align(self, adapter: EmbeddingMap) -> Alignment:
        """The words of the texts, the open token's included, in the adapter's two models."""
        return adapter.align(self.texts) if self.slot is None else self.slot.align(adapter)

    def carried(
        self,
        adapter: EmbeddingMap | None,
        term: str,
        align: Callable[[EmbeddingMap], Alignment] | None = None,
    ) -> tuple[Tensor, Alignment]:
        """The texts' embeddings in the adapter's target, [B, S_t, d_t], through which gradients come back.

        Only for a batch with embeddings.

        Args:
            adapter: of the term.
            term: whose adapter it is, for the message.
            align: how the texts are aligned, for a term that reads them within others; None: by themselves.

        Raises:
            UsageError: the term has no adapter.
        """
        assert self.embeddings is not None
        if term in self.ahead:
            return self.ahead[term]
        if adapter is None:
            raise UsageError(
                f"the term {term!r} has no adapter to carry its gradient: "
                "give one, or set optimizer.gradient_weight=0"
            )
        alignment = self.align(adapter) if align is None else align(adapter)
        return adapter.embed(self.embeddings, alignment), alignment
