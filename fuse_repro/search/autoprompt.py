"""AutoPrompt: HotFlip over one place at a time (Shin et al. 2020, arXiv 2010.15980, section 2.2)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fuse_repro.search.fixed_length import CandidateSearch
from fuse_repro.search.gaslite import exchanged
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.trials import Trials


@dataclass(frozen=True)
class AutoPrompt(CandidateSearch):
    """Exchanges the token at one place for the best of those that the gradient favours, if that is better.

    Every step draws a place, takes the gradient by its token, and evaluates the `candidates` tokens of least predicted
    objective there (HotFlip, Ebrahimi et al. 2018). Paper: 10 or 100 candidates.

    Attributes:
        candidates: how many tokens are evaluated in a step.

    Raises:
        UsageError: a setting out of range.
    """

    candidates: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("candidates")

    def walk(
        self, problem: PromptProblem, trials: Trials, generator: torch.Generator
    ) -> Iterator[Hypothesis]:
        """The prompt before the first step and after every step."""
        (current,) = self._start(trials, 1, generator)
        gradients = trials.differentiate([current])
        while gradients is not None:
            yield trials.known(current)
            drawn = int(torch.randint(self.tokens, (1,), generator=generator))
            place = len(current) - self.tokens + drawn
            (promising,) = trials.permitted.best(gradients.scores(0, [place]), self.candidates).tolist()
            before, current = current, exchanged(trials, current, place, promising)
            if trials.spent:
                break
            if current != before:  # else its gradient is known
                gradients = trials.differentiate([current])
        yield trials.known(current)
