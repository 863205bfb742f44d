"""Terms that keep the vectors of a soft prompt near what its model knows: the length of tokens, and tokens."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision
from fuse_repro.prompts.batch import SoftPromptBatch

BLOCK = 32768  # tokens compared at once


class VectorLengthTerm(nn.Module):
    """Mean squared logarithm of a vector's length over the median length of the model's tokens; no unit.

    Args:
        lm: the model whose tokens set the length.
    """

    def __init__(self, lm: FrozenModel) -> None:
        super().__init__()
        self.register_buffer("length", lm.embedding_table().float().norm(dim=1).median(), persistent=False)

    def forward(self, batch: SoftPromptBatch) -> Tensor:
        """[B], at least 0."""
        lengths = batch.vectors.float().norm(dim=2).clamp_min(torch.finfo(torch.float32).tiny)
        return (lengths / self.length).log().square().mean(1)


class NearTokensTerm(nn.Module):
    """Mean cosine distance, in [0, 2], from a vector to the nearest of the model's tokens.

    Both are seen from the mean of the tokens, which holds the direction that all embeddings share.

    Args:
        lm: the model whose tokens are searched; special tokens count as any other.
    """

    centre: Tensor

    def __init__(self, lm: FrozenModel) -> None:
        super().__init__()
        self._lm = (lm,)
        self.register_buffer("centre", lm.embedding_table().float().mean(0), persistent=False)

    def forward(self, batch: SoftPromptBatch) -> Tensor:
        """[B] cosine distances."""
        rows = normalize(batch.vectors.float() - self.centre, dim=2).flatten(0, 1)
        table = self._lm[0].embedding_table()
        best = torch.stack([self._nearest(rows, block) for block in table.split(BLOCK)])
        return (1.0 - best.amax(0)).view(batch.vectors.shape[:2]).mean(1)

    def _nearest(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """The highest cosine of every row [R, d] to these tokens: [R]."""
        with full_precision(rows.device):
            return (rows @ normalize(tokens.detach().float() - self.centre, dim=1).T).amax(1)
