"""What a soft prompt's rows lie near to: the nearest words, their lengths, and whether any word is near at all."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.models.base import FrozenModel

SAMPLE, ALONE = (
    1000,
    0.01,
)  # tokens that are looked at, and the share of them that count as far from all others


@dataclass(frozen=True)
class NearRow:
    """One row of a soft prompt beside the model's own embeddings.

    Attributes:
        words: (text of a token, cosine between the row and its embedding), nearest first.
        length: the row's length, in units of the mean length of the model's embeddings.
    """

    words: tuple[tuple[str, float], ...]
    length: float


@torch.no_grad()
def near_rows(lm: FrozenModel, prompt: Tensor, count: int = 5) -> list[NearRow]:
    """The `count` nearest tokens and the length of every row of a prompt [m, d]; special tokens are left out."""
    table = lm.embedding_table().float()
    rows = prompt.detach().to(table)
    similarity = normalize(rows, dim=1) @ normalize(table, dim=1).T
    similarity[:, sorted(lm.tokenizer.special_ids)] = -torch.inf
    values, ids = similarity.topk(count, dim=1)
    texts = lm.tokenizer.decode([[index] for row in ids.tolist() for index in row])
    lengths = rows.norm(dim=1) / table.norm(dim=1).mean()
    return [
        NearRow(
            tuple(zip(texts[place * count : (place + 1) * count], cosines, strict=True)),
            float(lengths[place]),
        )
        for place, cosines in enumerate(values.tolist())
    ]


@torch.no_grad()
def lonely(lm: FrozenModel, seed: int = 0) -> float:
    """The cosine below which a row is farther from every token than 99% of tokens are from their nearest other one."""
    table = normalize(lm.embedding_table().float(), dim=1)
    drawn = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:SAMPLE].to(
        table.device
    )
    similarity = table[drawn] @ table.T
    similarity[torch.arange(len(drawn), device=table.device), drawn] = -torch.inf
    return float(similarity.max(dim=1).values.quantile(ALONE))
