"""What every token of one model means alone to another model's encoder: the zeroth-order table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuse_repro.alignment.token_pieces import token_texts
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.in_context import contributions
from fuse_repro.models.precision import full_precision
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.progress import track
from fuse_repro.storage import tensors as store

FORMAT = 2
BLOCK = 2048


@dataclass(frozen=True)
class WordTable:
    """What n tokens mean to an encoder.

    Attributes:
        embeddings: [n, e], unit length; of every token's text as a text of its own.
        contributions: [n, e], what every token brings to a text before it (see fuse_repro.models.in_context): the
            same unless the encoder reads one token.
    """

    embeddings: Tensor
    contributions: Tensor

    @cached_property
    def squares(self) -> Tensor:
        """The squared lengths of the contributions: [n]."""
        return self.contributions.float().square().sum(1)


def word_table(
    source: FrozenModel,
    encoder: TextEncoder,
    cache_dir: Path | None = None,
    ids: Sequence[int] | None = None,
) -> WordTable:
    """The table of the source's whole vocabulary, or of the tokens `ids`.

    Equal words (" dog" and "dog") are encoded once, without autocast.

    Args:
        source: the model whose tokens they are.
        encoder: the model that embeds their texts.
        cache_dir: where a whole table is kept in half precision. It is not kept if the encoder's weights came
            from no files, since nothing names such weights.
        ids: some tokens only; None for all.
    """
    if ids is not None:
        return WordTable(*_encode(source, encoder, ids))
    inputs = cache_inputs(source, encoder)
    count = source.tokenizer.vocab_size
    half = store.Expected((count, None), torch.float16)

    def make() -> dict[str, Tensor]:
        alone, brought = _encode(source, encoder, range(count))
        more = {"contributions": brought.half()} if encoder.reads_one_token else {}
        return {"embeddings": alone.half()} | more

    expect = {"embeddings": half} | ({"contributions": half} if encoder.reads_one_token else {})
    return _table(store.kept(None if encoder.weights is None else cache_dir, inputs, expect, make), encoder)


def _table(tensors: Mapping[str, Tensor], encoder: TextEncoder) -> WordTable:
    kept = {name: tensor.to(encoder.device).float() for name, tensor in tensors.items()}
    alone = kept["embeddings"]
    return WordTable(alone, kept["contributions"] if encoder.reads_one_token else alone)


def cache_inputs(source: FrozenModel, encoder: TextEncoder) -> dict[str, Any]:
    """All that a whole table depends on."""
    return {
        "kind": "words",
        "format": FORMAT,
        "source": source.tokenizer.fingerprint,
        "target": encoder.signature,
    }


def _encode(source: FrozenModel, encoder: TextEncoder, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Both columns of a `WordTable`, the same tensor twice where they do not differ."""
    texts = [text.strip() for text in token_texts(source.tokenizer, ids)]
    unique = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))
    blocks = [unique[begin : begin + BLOCK] for begin in range(0, len(unique), BLOCK)]
    with full_precision(encoder.device):
        alone = torch.cat([encoder.encode(block) for block in track(blocks, "embedding single words")])
        brought = alone
        if encoder.reads_one_token:
            after = track(blocks, "embedding words after an article")
            brought = torch.cat([contributions(encoder, block) for block in after])
    place = {text: row for row, text in enumerate(unique)}
    rows = torch.tensor([place[text] for text in texts], device=alone.device)
    own = alone[rows]
    return own, own if brought is alone else brought[rows]
