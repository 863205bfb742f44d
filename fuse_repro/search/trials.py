"""Whole prompts and what they are worth, each computed once, within a budget."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuse_repro.objectives import LossValues, PromptBatch, prompt_nll
from fuse_repro.objectives.shared_prefix import shared_prefix_nll
from fuse_repro.search.constraints import Constraints, Permitted
from fuse_repro.search.metering import Counts
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.proposal import fluency_weight
from fuse_repro.search.token_gradients import TokenGradients, token_gradients

Prompt = tuple[int, ...]
FEW = 16  # prompts that one whole pass takes no longer for than a pass per token


class Trials:
    """The prompts that a search has tried, and the best of them.

    Args:
        problem: whose objective is computed.
        counts: what the objective has computed so far.
        limit: evaluations at the most; None for no bound.
        permitted: what prompts may be written; None for all. The search asks it before it evaluates.
    """

    def __init__(
        self,
        problem: PromptProblem,
        counts: Counts,
        limit: int | None = None,
        permitted: Permitted | None = None,
    ) -> None:
        self.problem = problem
        self.permitted = Constraints().of(problem, 1) if permitted is None else permitted
        self._counts = counts
        self._limit = limit
        self._known: dict[Prompt, Hypothesis] = {}

    @property
    def best(self) -> Hypothesis:
        """The prompt of least objective; among equals the one that was tried first."""
        return min(self._known.values(), key=lambda h: h.objective)

    @property
    def spent(self) -> bool:
        """Whether the budget allows no further evaluation."""
        return self.left == 0

    @property
    def left(self) -> int | None:
        """How many evaluations the budget allows; None for any number."""
        return None if self._limit is None else max(0, self._limit - self._counts.evaluations)

    def evaluate(self, prompts: Sequence[Prompt]) -> list[Hypothesis]:
        """The objective of these prompts, in their order; those that the budget does not allow are left out."""
        new = self._allowed([ids for ids in dict.fromkeys(prompts) if ids not in self._known])
        if new:
            self._note(new, *self._values(new))
        return [self._known[ids] for ids in prompts if ids in self._known]

    def differentiate(self, prompts: Sequence[Prompt]) -> TokenGradients | None:
        """The gradients of equally long prompts; None where the budget does not allow all of them."""
        if len(self._allowed(prompts)) < len(prompts):
            return None
        found = token_gradients(self.problem, prompts)
        self._note(prompts, found.values, found.nll, found.scored)
        return found

    def known(self, prompt: Prompt) -> Hypothesis:
        """What is known of a prompt that was tried."""
        return self._known[prompt]

    def knows(self, prompt: Prompt) -> bool:
        """Whether a prompt was tried."""
        return prompt in self._known

    def remember(self, hypotheses: Sequence[Hypothesis]) -> None:
        """Know these as well, which were evaluated elsewhere."""
        for hypothesis in hypotheses:
            self._known.setdefault(hypothesis.ids, hypothesis)

    def _allowed(self, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        return prompts[: self.left]

    @torch.no_grad()
    def _values(self, prompts: Sequence[Prompt]) -> tuple[LossValues, Tensor, Tensor]:
        problem = self.problem
        texts = problem.lm.tokenizer.decode(prompts)
        nll = torch.zeros(len(prompts), device=problem.lm.device, dtype=torch.float32)
        scored = torch.ones_like(nll, dtype=torch.long)
        if fluency_weight(problem) > 0:
            likelihood = prompt_nll if len(prompts) < FEW else shared_prefix_nll
            nll, scored = likelihood(problem.lm, prompts)
        return problem.objective(PromptBatch(texts, problem.targets, nll, scored)), nll, scored

    def _note(self, prompts: Sequence[Prompt], values: LossValues, nll: Tensor, scored: Tensor) -> None:
        texts = self.problem.lm.tokenizer.decode(prompts)
        rows = zip(
            prompts, texts, nll.tolist(), scored.tolist(), values.total.tolist(), values.rows(), strict=True
        )
        for ids, text, row_nll, row_scored, total, terms in rows:
            hypothesis = Hypothesis(ids, text, row_nll, row_scored, total, terms, finished=True)
            self._known.setdefault(ids, hypothesis)
