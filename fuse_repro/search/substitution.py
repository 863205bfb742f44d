"""Prompts with some of their tokens exchanged, of those that survive decode -> encode."""

import torch
from torch import Tensor

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.search.candidates import survivors

Prompt = tuple[int, ...]
DRAWS = 50  # rounds, since many do not survive


def substitutions(
    prompt: Prompt,
    tokens: Tensor,
    tokenizer: WordTokenizer,
    count: int,
    generator: torch.Generator,
    places: int = 1,
) -> list[Prompt]:
    """Up to `count` different prompts with `places` of the last n tokens exchanged.

    Every set of places is as probable as any other, and so is every token of a place.

    Args:
        prompt: whose tokens are exchanged.
        tokens: [n, k], what each of the last n tokens may become.
        tokenizer: of the prompt's model.
        count: how many prompts at the most.
        generator: of the draws.
        places: how many tokens are exchanged in each prompt.

    Raises:
        UsageError: no prompt survives decode -> encode.
    """
    chosen: dict[Prompt, None] = {}
    size, choices = tokens.shape
    for _ in range(DRAWS):
        where = torch.rand(count, size, generator=generator).argsort(dim=1)[:, :places]
        drawn = tokens[where, torch.randint(choices, (count, places), generator=generator)]
        changed = torch.tensor(prompt[-size:]).expand(count, -1).scatter(1, where, drawn)
        whole = [(*prompt[:-size], *row) for row in changed.tolist()]
        chosen |= {ids: None for ids, _ in survivors(whole, tokenizer) if ids != prompt}
        if len(chosen) >= count:
            break
    if not chosen:
        raise UsageError(
            f"none of {DRAWS * count} substitutions in {tokenizer.decode([prompt])[0]!r} survives decode -> encode: "
            "raise optimizer.tokens or optimizer.top_k, or start from another seed"
        )
    return list(chosen)[:count]
