"""What every token of one model means alone to another model's encoder: the zeroth-order table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuse_repro.alignment.token_pieces import token_texts
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.progress import track
from fuse_repro.storage import tensors as store

FORMAT = 2
BLOCK = 2048


@dataclass(frozen=True)
class WordTable:
    """embeddings: [n, e], unit length; the encoder's embedding of every token's text as a text of its own."""

    embeddings: Tensor


def word_table(
    source: FrozenModel,
    encoder: TextEncoder,
    cache_dir: Path | None = None,
    ids: Sequence[int] | None = None,
) -> WordTable:
    """The table of the source's whole vocabulary, or of the tokens `ids`.

    Equal words (" dog" and "dog") are encoded once, without autocast. A whole table is kept in `cache_dir` in half
    precision, unless the encoder's weights came from no files: nothing names those.
    """
    if ids is not None:
        return WordTable(_encode(source, encoder, ids))
    inputs = cache_inputs(source, encoder)
    count = source.tokenizer.vocab_size
    state = store.kept(
        None if encoder.weights is None else cache_dir,
        inputs,
        {"embeddings": store.Expected((count, None), torch.float16)},
        lambda: {"embeddings": _encode(source, encoder, range(count)).half()},
    )
    return WordTable(state["embeddings"].to(encoder.device).float())


def cache_inputs(source: FrozenModel, encoder: TextEncoder) -> dict[str, Any]:
    """All that a whole table depends on."""
    return {
        "kind": "words",
        "format": FORMAT,
        "source": source.tokenizer.fingerprint,
        "target": encoder.signature,
    }


def _encode(source: FrozenModel, encoder: TextEncoder, ids: Sequence[int]) -> Tensor:
    texts = [text.strip() for text in token_texts(source.tokenizer, ids)]
    unique = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))
    blocks = [unique[begin : begin + BLOCK] for begin in range(0, len(unique), BLOCK)]
    with full_precision(encoder.device):
        rows = torch.cat([encoder.encode(block) for block in track(blocks, "embedding single words")])
    place = {text: row for row, text in enumerate(unique)}
    return rows[torch.tensor([place[text] for text in texts], device=rows.device)]
