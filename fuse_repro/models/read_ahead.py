"""What several callers are about to ask of an encoder, read in one forward pass; each finds its own when it asks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from fuse_repro.models.base import AnyTokenizer
from fuse_repro.models.metering import Watch, charge, unmetered


@dataclass(frozen=True)
class ReadTexts:
    """Different texts that an encoder has read.

    Attributes:
        texts: n of them.
        outputs: [n, e], in the order in which they were read.
        places: [n], the row of every text.
        tokens: of every text, how many it has, special ones included.
    """

    texts: Sequence[str]
    outputs: Tensor
    places: NDArray[numpy.int64]
    tokens: Sequence[int]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Text -> which of the texts it is."""
        return {text: number for number, text in enumerate(self.texts)}

    def of(self, texts: Sequence[str]) -> Tensor:
        """The outputs of B of the texts: [B, e]."""
        places = self.places
        if list(texts) != list(self.texts):
            places = places[[self.numbers[text] for text in texts]]
        return self.outputs[torch.from_numpy(places).to(self.outputs.device)]


class Reader(Protocol):
    """What a text encoder is asked here."""

    tokenizer: AnyTokenizer

    @property
    def body(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    def read(self, texts: Sequence[str]) -> ReadTexts: ...

    def __call__(self, embeddings: Tensor, mask: Tensor, padded_right: bool = False) -> Tensor: ...


class ReadAhead:
    """What an encoder has read for several callers at once.

    Forward passes are shared, and nothing else: a caller that asks for its part is charged what a pass of its own would
    have cost, so that its count does not depend on its company. What nobody read ahead is read as ever.

    Args:
        encoder: that reads.
    """

    def __init__(self, encoder: Reader) -> None:
        self._encoder = encoder
        self._texts: ReadTexts | None = None
        self._precision: object = None
        self._passes: list[tuple[Tensor, Tensor]] = []

    def read(self, texts: Sequence[str]) -> None:
        """Read these texts of all callers, in place of those that were read before.

        Raises:
            UsageError: as `TextEncoder.encode`.
        """
        self._texts = None
        with unmetered():
            self._texts = self._encoder.read(list(dict.fromkeys(texts)))
        self._precision = self._precision_now()

    def find(self, texts: Sequence[str]) -> ReadTexts | None:
        """What was read ahead, if all these different texts are in it and would be read in the same precision now."""
        known = self._texts
        if known is None or self._precision != self._precision_now():
            return None
        if not all(text in known.numbers for text in texts):
            return None
        watch = Watch.of(self._encoder.body)
        for tokens, rows in Counter(known.tokens[known.numbers[text]] for text in texts).items():
            charge(watch.pass_of(rows, tokens))
        return known

    @contextmanager
    def embeddings(self, parts: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
        """Within, the encoder knows what it makes of these embeddings, by one pass with gradients.

        Args:
            parts: the embeddings [B_k, S_k, d] and the mask [B_k, S_k] of every caller; masks are those of Alignments.

        Raises:
            UsageError: as `TextEncoder.forward`.
        """
        longest = max(own.shape[1] for own, _ in parts)
        missing = [longest - own.shape[1] for own, _ in parts]
        rows = [pad(own, (0, 0, 0, more)) for (own, _), more in zip(parts, missing, strict=True)]
        masks = [pad(mask.long(), (0, more)) for (_, mask), more in zip(parts, missing, strict=True)]
        with unmetered():
            outputs = self._encoder(torch.cat(rows), torch.cat(masks), padded_right=True)
        each = outputs.split([len(own) for own in rows])
        self._passes = [(own, found) for (own, _), found in zip(parts, each, strict=True)]
        try:
            yield
        finally:
            self._passes = []

    def outputs_of(self, embeddings: Tensor) -> Tensor | None:
        """What the encoder made of the very tensor `embeddings` [B, S, d] ahead: [B, e]; None if it did not."""
        found = next((outputs for own, outputs in self._passes if own is embeddings), None)
        if found is not None:
            around = len(self._encoder.tokenizer.prefix_ids) + len(self._encoder.tokenizer.suffix_ids)
            rows, tokens = embeddings.shape[:2]
            watch = Watch.of(self._encoder.body)
            charge(watch.pass_of(rows, tokens + around, embeddings.requires_grad))
        return found

    def _precision_now(self) -> object:
        kind = self._encoder.device.type
        return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
