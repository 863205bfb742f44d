"""A look at dev: what several soft prompts of one model get right, in few forward passes and without a wait."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from fuse_repro.models.keys_values import on_device
from fuse_repro.tasks.layout import by_length
from fuse_repro.tasks.reader import Reader

ITEMS = 64  # that share a forward pass at first


@dataclass(frozen=True, eq=False)
class Asked:
    """Items of one task among those of a reader.

    Attributes:
        first: the number of the first of the N items in the reader.
        gold: [N] the number of each item's answer among the candidates.
        candidates: [A] the tokens that can answer.
    """

    first: int
    gold: Tensor
    candidates: Tensor

    def __len__(self) -> int:
        return len(self.gold)

    def gold_of(self, items: Sequence[int]) -> Tensor:
        """The answers' numbers [B] of some items."""
        return self.gold[on_device(items, self.gold.device)]


@torch.no_grad()
def look(reader: Reader, asked: Sequence[Asked], prompts: Tensor) -> Tensor:
    """Hits and mean cross-entropy of every prompt on its items: [P, 2] float32, on the device.

    Items of similar length share a batch, whichever prompt they are asked with.

    Args:
        reader: of the items.
        asked: the items of every prompt.
        prompts: [P, m, d].
    """
    device = prompts.device
    owners = [owner for owner, items in enumerate(asked) for _ in range(len(items))]
    numbers = [items.first + row for items in asked for row in range(len(items))]
    order = by_length([reader.lengths[number] for number in numbers])
    most = max(len(items.candidates) for items in asked)
    candidates = torch.stack(
        [pad(items.candidates, (0, most - len(items.candidates)), value=-1) for items in asked]
    )
    gold, owner_of = torch.cat([items.gold for items in asked]), on_device(owners, device)
    found = torch.empty(len(numbers), 2, device=device)

    def answers(part: slice) -> tuple[Tensor, Tensor]:
        rows = on_device(order[part], device)
        own, right = owner_of[rows], gold[rows]
        logits = reader.logits([numbers[row] for row in order[part]], prompts[own]).float()
        tokens = candidates[own]
        chosen = logits.gather(1, tokens.clamp_min(0)).masked_fill(tokens < 0, -torch.inf)
        hits = (chosen.argmax(dim=1) == right).float()
        return rows, torch.stack([hits, cross_entropy(chosen, right, reduction="none")], dim=1)

    for _, (rows, values) in reader.lm.batches("item", ITEMS).each(len(numbers), answers):
        found[rows] = values
    sums = torch.stack([values.sum(dim=0) for values in found.split([len(items) for items in asked])])
    counts = on_device([len(items) for items in asked], device)
    return torch.stack([sums[:, 0], sums[:, 1] / counts], dim=1)
