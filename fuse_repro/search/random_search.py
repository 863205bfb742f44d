"""Random search: what gradients have to beat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from fuse_repro.errors import require
from fuse_repro.search.fixed_length import CandidateSearch
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.projection import project
from fuse_repro.search.substitution import substitutions
from fuse_repro.search.trials import Prompt, Trials

NEIGHBOURHOODS = ("l0", "l2")
Neighbours = Callable[[Prompt], list[Prompt]]


@dataclass(frozen=True)
class RandomSearch(CandidateSearch):
    """Goes to the best of `candidates` random neighbours of the best prompt so far, if it is better.

    Attributes:
        steps: how many steps are taken at the most.
        candidates: how many neighbours are drawn in a step.
        neighbourhood: "l0" changes `replace` random tokens to random ones; "l2" moves every token's embedding
            by Gaussian noise of `radius` times the embeddings' mean length, and takes the tokens nearest to
            that.
        replace: how many tokens "l0" changes.
        radius: of the noise of "l2", in mean lengths of an embedding.

    Raises:
        UsageError: a setting out of range.
    """

    steps: int = 1000
    candidates: int = 8
    neighbourhood: str = "l0"
    replace: int = 1
    radius: float = 3.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("candidates", "replace")
        known = f"one of {', '.join(NEIGHBOURHOODS)}"
        require(self.neighbourhood in NEIGHBOURHOODS, "optimizer.neighbourhood", self.neighbourhood, known)
        fits = f"at most optimizer.tokens={self.tokens}"
        require(self.replace <= self.tokens, "optimizer.replace", self.replace, fits)
        require(self.radius > 0, "optimizer.radius", self.radius, "above 0")

    @property
    def uses_gradients(self) -> bool:
        """Never: random search takes no gradients."""
        return False

    def walk(
        self, problem: PromptProblem, trials: Trials, generator: torch.Generator
    ) -> Iterator[Hypothesis]:
        """The best prompt so far, after every step."""
        neighbours = (self._replacing if self.neighbourhood == "l0" else self._moving)(trials, generator)
        (current,) = trials.evaluate(self._start(trials, 1, generator))
        yield current
        while not trials.spent:
            found = trials.evaluate(neighbours(current.ids))
            current = min([current, *found], key=lambda h: h.objective)
            yield current

    def _replacing(self, trials: Trials, generator: torch.Generator) -> Neighbours:
        """Prompts with `replace` of the tokens changed."""
        choices = torch.tensor(trials.permitted.tokens).expand(self.tokens, -1)

        def neighbours(prompt: Prompt) -> list[Prompt]:
            return substitutions(prompt, choices, trials.permitted, self.candidates, generator, self.replace)

        return neighbours

    def _moving(self, trials: Trials, generator: torch.Generator) -> Neighbours:
        """Prompts of the tokens nearest to the embeddings with noise."""
        problem, lm = trials.problem, trials.problem.lm
        length = lm.embedding_table().float().norm(dim=1).mean() / lm.embedding_size**0.5

        def neighbours(prompt: Prompt) -> list[Prompt]:
            vectors = lm.embed(torch.tensor(prompt[-self.tokens :], device=lm.device)).float()
            noise = torch.randn(self.candidates, *vectors.shape, generator=generator).to(lm.device)
            return project(problem, vectors + self.radius * length * noise, trials.permitted)

        return neighbours
