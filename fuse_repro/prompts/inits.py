"""Where tuning a soft prompt starts: random vectors, random tokens, or the tokens of a text."""

import math

import torch
from torch import Tensor

from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel


def normal_init(lm: FrozenModel, m: int, generator: torch.Generator) -> Tensor:
    """[m, d] float32 from a normal distribution with the mean and deviation of the embedding table's values.

    The random baseline of the paper (section 3.3), and OptiPrompt's start.

    Raises:
        UsageError: m is below 1.
    """
    _require_length(m)
    table = lm.embedding_table().float()
    noise = torch.randn(m, lm.embedding_size, generator=generator)
    return noise.to(table.device) * table.std() + table.mean()


def vocabulary_init(lm: FrozenModel, m: int, generator: torch.Generator) -> Tensor:
    """[m, d] float32: the embeddings of m random tokens, special tokens left out, none twice.

    Raises:
        UsageError: m is below 1, or there are fewer tokens.
    """
    _require_length(m)
    allowed = [token for token in range(lm.tokenizer.vocab_size) if token not in lm.tokenizer.special_ids]
    require(m <= len(allowed), "m", m, f"{lm.name} has {len(allowed)} tokens")
    order = torch.randperm(len(allowed), generator=generator)[:m]
    with torch.no_grad():
        return lm.embed(torch.tensor(allowed, device=lm.device)[order.to(lm.device)]).float()


def template_init(lm: FrozenModel, text: str, m: int | None = None) -> Tensor:
    """[m, d] float32: the embeddings of a text's tokens, cut or repeated to m where m is given.

    Raises:
        UsageError: the text has no tokens, or m is below 1.
    """
    _require_length(1 if m is None else m)
    ids = lm.tokenizer.encode([text])[0]
    require(bool(ids), "template", text, "a text with at least one token")
    length = len(ids) if m is None else m
    repeated = (ids * math.ceil(length / len(ids)))[:length]
    with torch.no_grad():
        return lm.embed(torch.tensor(repeated, device=lm.device)).float()


def _require_length(m: int) -> None:
    require(m >= 1, "m", m, "at least 1, the number of vectors of a soft prompt")
