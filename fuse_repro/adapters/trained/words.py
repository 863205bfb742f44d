"""The words that a map learns from, as tokens of both models, by their numbers of tokens."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

Shape = tuple[int, int]  # tokens of a word in the source, and in the target


@dataclass(frozen=True)
class Group:
    """K words of s source and t target tokens.

    Attributes:
        source: token ids, [K, s].
        target: token ids, [K, t].
    """

    source: Tensor
    target: Tensor


Groups = dict[Shape, Group]


def word_groups(
    source: FrozenModel, target: FrozenModel, words: Sequence[str], max_tokens: int, holdout: int, seed: int
) -> tuple[Groups, Groups]:
    """Words by their numbers of tokens: those to learn from, and those that are held out.

    Words of more than `max_tokens` tokens in either model, and words that hold a special token, are left out.

    Args:
        source: the model whose embeddings are read.
        target: the model whose embeddings are to be said.
        words: of running text.
        max_tokens: the most tokens of a word.
        holdout: how many words are held out; at most a tenth of all.
        seed: of the choice.

    Raises:
        UsageError: fewer than two words are left.
    """
    known = []
    words = list(dict.fromkeys(words))
    special = (source.tokenizer.special_ids, target.tokenizer.special_ids)
    for pair in zip(*(model.tokenizer.word_ids(words) for model in (source, target)), strict=True):
        fits = all(0 < len(ids) <= max_tokens for ids in pair)
        if fits and all(own.isdisjoint(ids) for own, ids in zip(special, pair, strict=True)):
            known.append(pair)
    if len(known) < 2:
        raise UsageError(
            f"{len(known)} words of the corpus have 1 to {max_tokens} tokens in both {source.name} and "
            f"{target.name} ({len(words)} words given): use another corpus or raise adapter.max_tokens"
        )
    held = min(holdout, max(1, len(known) // 10))
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed)).tolist()
    parts = (sorted(order[held:]), sorted(order[:held]))
    rest, kept = (_grouped([known[i] for i in part], source.device) for part in parts)
    return rest, kept


def _grouped(pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], device: torch.device) -> Groups:
    found: dict[Shape, list[tuple[tuple[int, ...], tuple[int, ...]]]] = defaultdict(list)
    for pair in pairs:
        found[len(pair[0]), len(pair[1])].append(pair)
    return {
        shape: Group(*(torch.tensor(side, device=device) for side in zip(*found[shape], strict=True)))
        for shape in sorted(found)
    }


def count(groups: Groups) -> int:
    """How many words there are."""
    return sum(len(group.source) for group in groups.values())
