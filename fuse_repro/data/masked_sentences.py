"""Statements as tokens, some of them hidden, in batches: what a masked language model is trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.mini_corpus import Statement

IGNORED = -100
ANSWERS_ALONE = 0.8  # how often a statement hides its answer and nothing else; otherwise tokens at random
HIDDEN = 0.2  # the share of tokens hidden then, and in running text
SORTED_BATCHES = 16  # so many batches' statements are sorted by length, so that little is padding


@dataclass(frozen=True, eq=False)
class Items:
    """N statements as tokens, padded on the right with 0.

    Attributes:
        ids: [N, S] token ids.
        lengths: [N] tokens of each, special ones included.
        answers: [N, S], True at the answer's tokens.
        mask_id: the mask token.
    """

    ids: Tensor
    lengths: Tensor
    answers: Tensor
    mask_id: int


def encode(tokenizer: WordTokenizer, mask_id: int, statements: Sequence[Statement]) -> Items:
    """Statements as tokens; what is before, in and behind the answer is tokenized apart, as in a prompt."""
    parts = [
        tokenizer.encode([getattr(one, part) for one in statements]) for part in ("before", "answer", "after")
    ]
    before, answer, after = parts
    rows = [
        [*tokenizer.prefix_ids, *left, *middle, *right, *tokenizer.suffix_ids]
        for left, middle, right in zip(before, answer, after, strict=True)
    ]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    places = torch.arange(ids.shape[1])
    begin = torch.tensor([len(tokenizer.prefix_ids) + len(left) for left in before])[:, None]
    end = begin + torch.tensor([len(middle) for middle in answer])[:, None]
    return Items(ids, lengths, (places >= begin) & (places < end), mask_id)


def hide(items: Items, numbers: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Statements `numbers` [B] with some tokens masked, at least one in each.

    Args:
        items: all statements.
        numbers: [B], which of them.
        draw: the generator that chooses the tokens.

    Returns:
        The ids [B, S], the labels [B, S] of the hidden tokens (elsewhere `IGNORED`), and where tokens are [B,
        S].
    """
    lengths = items.lengths[numbers]
    width = int(lengths.max())
    ids, answers = items.ids[numbers, :width], items.answers[numbers, :width]
    places = torch.arange(width)
    inner = (places >= 1) & (places < lengths[:, None] - 1)
    drawn = torch.rand(ids.shape, generator=draw).masked_fill(~inner, 1.0)
    random = inner & (drawn <= drawn.amin(dim=1, keepdim=True).clamp_min(HIDDEN))
    alone = torch.rand(len(ids), generator=draw) < ANSWERS_ALONE
    hidden = torch.where((alone & answers.any(dim=1))[:, None], answers, random)
    labels = torch.where(hidden, ids, IGNORED)
    return torch.where(hidden, items.mask_id, ids), labels, places < lengths[:, None]


def batches(lengths: Tensor, size: int, count: int, draw: torch.Generator) -> Iterator[Tensor]:
    """At least `count` batches of at most `size` item numbers; every item once before any comes again."""
    made = 0
    while made < count:
        order = torch.randperm(len(lengths), generator=draw)
        for group in order.split(size * SORTED_BATCHES):
            sorted_ = group[lengths[group].argsort(stable=True)].split(size)
            yield from (sorted_[place] for place in torch.randperm(len(sorted_), generator=draw))
            made += len(sorted_)
