"""Candidates for the next token: only those whose text is read back as the very same tokens."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from fuse_repro.alignment.last_words import is_line, last_words
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError

SENTENCE_ENDS = (".", "!", "?")


class Candidate(NamedTuple):
    """One way to extend a prompt.

    Attributes:
        row: which prompt is extended.
        token: the token that is added.
        text: the text of the whole extended prompt.
    """

    row: int
    token: int
    text: str


def propose(
    scores: Tensor,
    prompts: Sequence[tuple[int, ...]],
    tokenizer: WordTokenizer,
    count: int,
    keeps: Callable[[tuple[int, ...], str], bool] | None = None,
) -> list[Candidate]:
    """The `count` best-scored next tokens of every prompt that survive decode -> encode.

    Special tokens, line breaks, and tokens that would be read back differently are left out; further tokens
    take their place.

    Args:
        scores: [B, V], higher is better; tokens of -inf are never proposed.
        prompts: the B prompts' content tokens.
        tokenizer: of the model that scored them.
        count: how many tokens each prompt gets at the most.
        keeps: whether an extended prompt with its text may be written; None for all.

    Raises:
        UsageError: no candidate is left for any prompt.
    """
    allowed = scores.index_fill(1, _special(tokenizer, scores.device), -torch.inf)
    size = scores.shape[1]
    reach = min(size, count + count // 16 + 1)
    chosen: list[list[Candidate]] = [[] for _ in prompts]
    wanting = list(range(len(prompts)))  # prompts that have too few, and further tokens to try
    while True:
        best = allowed.topk(reach, dim=1)
        counts = (best.values > -torch.inf).sum(1).tolist()
        ranked = best.indices.tolist()
        for row in wanting:
            found = _surviving(row, prompts[row], ranked[row][: counts[row]], tokenizer)
            chosen[row] = [c for c in found if keeps is None or keeps((*prompts[row], c.token), c.text)]
        wanting = [row for row in wanting if len(chosen[row]) < count and counts[row] == reach < size]
        if not wanting:
            break
        reach = min(size, max(_enough(count, reach, len(chosen[row])) for row in wanting))
    if not any(chosen):
        raise UsageError(
            f"no candidates left: none of the {size} next tokens survives decode -> encode after "
            f"{tokenizer.decode([prompts[0]])[0]!r}; change prefix (text that itself survives), or the model"
        )
    return [candidate for candidates in chosen for candidate in candidates[:count]]


def _enough(count: int, tried: int, survived: int) -> int:
    """How many tokens are likely to leave `count` survivors; somewhat to four times as many as were tried."""
    likely = tried * count // max(survived, 1)
    return min(4 * tried, likely + likely // 16 + 1)


def evenly(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most `count` candidates: the first ones of each prompt, equally many of each if there are enough."""
    seen: Counter[int] = Counter()
    ranks = []
    for candidate in candidates:
        ranks.append(seen[candidate.row])
        seen[candidate.row] += 1
    first = sorted(range(len(candidates)), key=ranks.__getitem__)[:count]
    return [candidates[place] for place in sorted(first)]


def closings(
    prompts: Sequence[tuple[int, ...]], texts: Sequence[str], tokenizer: WordTokenizer
) -> list[Candidate]:
    """Every prompt followed by each sentence end that is one more token of it."""
    ended = [(row, text + mark) for row, text in enumerate(texts) for mark in SENTENCE_ENDS]
    encoded = tokenizer.encode([text for _, text in ended])
    return [
        Candidate(row, ids[-1], text)
        for (row, text), ids in zip(ended, encoded, strict=True)
        if tuple(ids[:-1]) == prompts[row]
    ]


def _surviving(
    row: int, prompt: tuple[int, ...], tokens: list[int], tokenizer: WordTokenizer
) -> list[Candidate]:
    texts = last_words(tokenizer).extended(prompt, tokens)
    return [
        Candidate(row, token, text) for token, text in zip(tokens, texts, strict=True) if text is not None
    ]


@lru_cache(maxsize=8)
def _special(tokenizer: WordTokenizer, device: torch.device) -> Tensor:
    """The special tokens, on the device where scores are."""
    return torch.tensor(sorted(tokenizer.special_ids), dtype=torch.long, device=device)


def survivors(
    prompts: Sequence[tuple[int, ...]], tokenizer: WordTokenizer
) -> list[tuple[tuple[int, ...], str]]:
    """The prompts of one line whose text is read back as the very same tokens, in their order, with that text."""
    texts = tokenizer.decode(prompts)
    encoded = tokenizer.encode(texts)
    return [
        (ids, text)
        for ids, text, back in zip(prompts, texts, encoded, strict=True)
        if tuple(back) == ids and is_line(text)
    ]
