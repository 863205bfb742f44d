"""Greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043, Algorithm 1)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fuse_repro.search.fixed_length import CandidateSearch
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.substitution import substitutions
from fuse_repro.search.trials import Trials


@dataclass(frozen=True)
class GCG(CandidateSearch):
    """Exchanges one token at a time for one that the gradient favours.

    Every step takes the gradient by all tokens and draws `candidates` prompts. Each has one token changed:
    the place is drawn uniformly, and so is the new token, from the `top_k` of that place. The search goes on
    from the best of them, even if it is worse than before. Paper: 512 candidates, top_k 256, 500 steps.

    Attributes:
        candidates: how many prompts are drawn in a step.
        top_k: how many tokens each place may change to.

    Raises:
        UsageError: a setting out of range.
    """

    candidates: int = 64
    top_k: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("candidates", "top_k")

    def walk(
        self, problem: PromptProblem, trials: Trials, generator: torch.Generator
    ) -> Iterator[Hypothesis]:
        """The best candidate of every step, after the prompt at the start."""
        (current,) = self._start(trials, 1, generator)
        places = range(len(current) - self.tokens, len(current))
        while (gradients := trials.differentiate([current])) is not None:
            yield trials.known(current)
            promising = trials.permitted.best(gradients.scores(0, places), self.top_k)
            drawn = substitutions(current, promising, trials.permitted, self.candidates, generator)
            found = trials.evaluate(drawn)
            if not found:
                return
            current = min(found, key=lambda h: h.objective).ids
        yield trials.known(current)
