"""GASLITE: several tokens exchanged in a step (Ben-Tov and Sharif 2024, arXiv 2412.20953, Algorithm 1)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fuse_repro.errors import require
from fuse_repro.search.candidates import survivors
from fuse_repro.search.edits import exchanges
from fuse_repro.search.fixed_length import CandidateSearch
from fuse_repro.search.neighbours import around
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.trials import Prompt, Trials


@dataclass(frozen=True)
class GASLITE(CandidateSearch):
    """Visits places one after another, and keeps the best of the tokens that an averaged gradient favours.

    Every step averages the gradient over the prompt and random neighbours of it. It draws `flips` places and goes
    through them in order: at each it evaluates the `candidates` best tokens there, with what was exchanged before, and
    keeps the best prompt. A step never ends with a worse prompt. Paper: 50 averaged, 20 flips, 128 candidates.

    Attributes:
        averaged: over how many prompts the gradient is averaged; 1 is the prompt's own.
        flips: how many places are visited in a step.
        candidates: how many tokens are evaluated at a place.

    Raises:
        UsageError: a setting out of range.
    """

    averaged: int = 10
    flips: int = 8
    candidates: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("averaged", "flips", "candidates")
        fits = f"at most optimizer.tokens={self.tokens}"
        require(self.flips <= self.tokens, "optimizer.flips", self.flips, fits)

    def walk(
        self, problem: PromptProblem, trials: Trials, generator: torch.Generator
    ) -> Iterator[Hypothesis]:
        """The prompt before the first step and after every step."""
        (current,) = self._start(trials, 1, generator)
        first = len(current) - self.tokens
        while (found := around(trials, current, self.tokens, self.averaged, generator)) is not None:
            yield trials.known(current)
            order = torch.randperm(self.tokens, generator=generator)[: self.flips].tolist()
            places = [first + place for place in order]
            fluency, carried = found.score_parts(range(len(found.nll)), places)
            promising = trials.permitted.best(fluency + carried, self.candidates)
            for place, tokens in zip(places, promising.tolist(), strict=True):
                current = exchanged(trials, current, place, tokens)
        yield trials.known(current)


def exchanged(trials: Trials, prompt: Prompt, place: int, tokens: list[int]) -> Prompt:
    """The best of a prompt, which is known, and the same with each of the tokens at a place."""
    whole = survivors(exchanges(prompt, place, tokens), trials.problem.lm.tokenizer)
    fitting = [ids for ids, _ in trials.permitted.kept(whole)]
    found = [trials.known(prompt), *trials.evaluate(fitting)]
    return min(found, key=lambda h: h.objective).ids
