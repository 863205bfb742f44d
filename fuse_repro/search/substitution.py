"""Prompts with some of their tokens exchanged, of those that survive decode -> encode."""

import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.search.candidates import survivors
from fuse_repro.search.constraints import Permitted

Prompt = tuple[int, ...]
DRAWS = 50  # rounds, since many do not survive


def substitutions(
    prompt: Prompt,
    tokens: Tensor,
    permitted: Permitted,
    count: int,
    generator: torch.Generator,
    places: int = 1,
) -> list[Prompt]:
    """Up to `count` different prompts with `places` of the last n tokens exchanged.

    Every set of places is as probable as any other, and so is every token of a place.

    Args:
        prompt: whose tokens are exchanged.
        tokens: [n, k], what each of the last n tokens may become.
        permitted: what may be written.
        count: how many prompts at the most.
        generator: of the draws.
        places: how many tokens are exchanged in each prompt.

    Raises:
        UsageError: no prompt survives decode -> encode.
    """
    chosen: dict[Prompt, None] = {}
    tokenizer = permitted.tokenizer
    size, choices = tokens.shape
    for _ in range(DRAWS):
        where = torch.rand(count, size, generator=generator).argsort(dim=1)[:, :places]
        drawn = tokens[where, torch.randint(choices, (count, places), generator=generator)]
        changed = torch.tensor(prompt[-size:]).expand(count, -1).scatter(1, where, drawn)
        whole = [(*prompt[:-size], *row) for row in changed.tolist()]
        chosen |= {ids: None for ids, _ in permitted.kept(survivors(whole, tokenizer)) if ids != prompt}
        if len(chosen) >= count:
            break
    if not chosen:
        raise UsageError(
            f"none of {DRAWS * count} substitutions in {tokenizer.decode([prompt])[0]!r} survives decode -> encode: "
            "raise optimizer.tokens or optimizer.top_k, lift optimizer.constraints, or start from another seed"
        )
    return list(chosen)[:count]
