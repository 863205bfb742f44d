"""The gradient of a prompt averaged over prompts around it (GASLITE: Ben-Tov and Sharif 2024, arXiv 2412.20953)."""

from collections.abc import Sequence
from contextlib import suppress

import torch

from fuse_repro.errors import UsageError
from fuse_repro.search.substitution import substitutions
from fuse_repro.search.token_gradients import TokenGradients
from fuse_repro.search.trials import Prompt, Trials


def around(
    trials: Trials, prompt: Prompt, tokens: int, count: int, generator: torch.Generator
) -> TokenGradients | None:
    """The gradients of a prompt and of `count` - 1 random neighbours, whose mean is that of a smoother objective.

    A neighbour has one of the last `tokens` tokens exchanged for any other; it survives decode -> encode, and is
    evaluated on the way.

    Returns:
        The prompt's own gradient is that of row 0. There are fewer neighbours where the budget or constraints leave
        fewer; None where the budget is spent.
    """
    neighbours: Sequence[Prompt] = ()
    count = count if trials.left is None else min(count, trials.left)
    if count > 1:
        anything = torch.tensor(trials.permitted.tokens).expand(tokens, -1)
        with suppress(UsageError):  # constraints may leave a prompt without any
            neighbours = substitutions(prompt, anything, trials.permitted, count - 1, generator)
    return trials.differentiate([prompt, *neighbours])
