"""Which tokens a model has learnt: rows of its table that training hardly touched mean nothing, and anchor nothing."""

import torch
from torch import Tensor

from fuse_repro.models.base import FrozenModel

SHORT = 0.3  # of the median length of the words: a shorter row has decayed
NEAR = 0.5  # of the words' median distance to the unused rows: a nearer row has hardly left them
FEWEST = 4  # unused rows that have a mean to speak of


@torch.no_grad()
def well_trained(model: FrozenModel, ids: Tensor) -> Tensor:
    """Which of the tokens `ids` [K] have been learnt, by the rows of the model's table: bool [K], on the CPU.

    A token that training hardly saw keeps the row that it began with, or one that weight decay has shortened.
    So a row is left out that is far shorter than the others, or far nearer to the mean of the unused rows.
    The latter needs unused rows that lie together; where a model has none, length alone decides.

    Args:
        model: whose tokens they are.
        ids: token ids.
    """
    rows = model.embed(ids.to(model.device)).double()
    lengths = rows.norm(dim=1)
    learnt = lengths >= SHORT * lengths.median()
    centre, spread = _unused_centre(model)
    if centre is not None:
        away = (rows - centre).norm(dim=1)
        if spread < NEAR * float(away.median()):
            learnt &= away >= NEAR * away.median()
    return learnt.cpu()


def _unused_centre(model: FrozenModel) -> tuple[Tensor | None, float]:
    """The mean of the unused rows and their median distance to it; None where there are too few.

    Unused are rows without a token, and special tokens that do not stand around every text. Some of the latter
    may be in use all the same, so the mean is that of the half which lies nearest to the median row.
    """
    tokenizer = model.tokenizer
    used = {*tokenizer.prefix_ids, *tokenizer.suffix_ids}
    unused = [*sorted(tokenizer.special_ids - used), *model.spare_ids]
    if len(unused) < FEWEST:
        return None, 0.0
    rows = model.embed(torch.tensor(unused, device=model.device)).double()
    away = (rows - rows.median(0).values).norm(dim=1)
    centre = rows[away <= away.median()].mean(0)
    return centre, float((rows - centre).norm(dim=1).median())
