"""Edits of a whole prompt: words exchanged, put in, taken out and moved, of those that survive decode -> encode."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

Prompt = tuple[int, ...]


def words_of(prompt: Prompt, begin: int, joins: Tensor) -> list[tuple[int, int]]:
    """The words behind the first `begin` tokens, each from its first token to behind its last.

    Args:
        prompt: token ids.
        begin: how many tokens belong to the prefix.
        joins: [V], which tokens go on with a word.
    """
    starts = [place for place in range(begin, len(prompt)) if place == begin or not joins[prompt[place]]]
    return list(zip(starts, [*starts[1:], len(prompt)], strict=True))


def exchanges(prompt: Prompt, place: int, tokens: Iterable[int]) -> list[Prompt]:
    """The prompt with each of these tokens at a place."""
    return [(*prompt[:place], token, *prompt[place + 1 :]) for token in tokens if token != prompt[place]]


def insertions(prompt: Prompt, places: Sequence[int], tokens: Sequence[int]) -> list[Prompt]:
    """The prompt with one more token, in front of the token at its place; a place for each token."""
    return [(*prompt[:place], token, *prompt[place:]) for place, token in zip(places, tokens, strict=True)]


def deletions(prompt: Prompt, words: Sequence[tuple[int, int]]) -> list[Prompt]:
    """The prompt without each of its words, and without each token of those that have several."""
    alone = [(place, place + 1) for start, stop in words if stop - start > 1 for place in range(start, stop)]
    return [(*prompt[:start], *prompt[stop:]) for start, stop in (*words, *alone)]


def without(prompt: Prompt, words: Sequence[tuple[int, int]]) -> Prompt:
    """The prompt without these words, all of them at once."""
    gone = {place for start, stop in words for place in range(start, stop)}
    return tuple(token for place, token in enumerate(prompt) if place not in gone)


def moves(
    prompt: Prompt, words: Sequence[tuple[int, int]], count: int, generator: torch.Generator
) -> list[Prompt]:
    """Up to `count` prompts with one of the words at another place among them, drawn uniformly."""
    size = len(words)
    targets = [(word, place) for word in range(size) for place in range(size) if place != word]
    drawn = torch.randperm(len(targets), generator=generator)[:count].tolist()
    parts = [prompt[start:stop] for start, stop in words]
    first = words[0][0] if words else len(prompt)
    found = []
    for word, place in (targets[number] for number in drawn):
        rest = [*parts[:word], *parts[word + 1 :]]
        order = [*rest[:place], parts[word], *rest[place:]]
        found.append((*prompt[:first], *(token for part in order for token in part)))
    return list(dict.fromkeys(found))


def joined(prompt: Prompt, edited: Sequence[Prompt]) -> list[Prompt]:
    """The first two of several exchanges at once, the first three, and so on; of one place the first counts.

    Args:
        prompt: what was edited.
        edited: the prompt with one token exchanged, best first.
    """
    changes: dict[int, int] = {}
    for ids in edited:
        for place, (old, new) in enumerate(zip(prompt, ids, strict=True)):
            if old != new:
                changes.setdefault(place, new)

    def exchange(ids: Prompt, change: tuple[int, int]) -> Prompt:
        return (*ids[: change[0]], change[1], *ids[change[0] + 1 :])

    return list(accumulate(changes.items(), exchange, initial=prompt))[2:]
