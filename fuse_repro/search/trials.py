"""Whole prompts and what they are worth, each computed once, within a budget."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.objectives import LossValues, PromptBatch, prompt_nll
from fuse_repro.objectives.shared_prefix import shared_prefix_nll
from fuse_repro.search.constraints import Constraints, Permitted
from fuse_repro.search.metering import Counts
from fuse_repro.search.probing import Probing, agreement
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
        probing: how few of many prompts are evaluated, as the problem's draft ranks them; None for all.

    Raises:
        UsageError: probing of a problem that has no draft.
    """

    def __init__(
        self,
        problem: PromptProblem,
        counts: Counts,
        limit: int | None = None,
        permitted: Permitted | None = None,
        probing: Probing | None = None,
    ) -> None:
        if probing is not None and problem.draft is None:
            raise UsageError(no_draft(probing.share))
        self.problem = problem
        self.permitted = Constraints().of(problem, 1) if permitted is None else permitted
        self._counts = counts
        self._limit = limit
        self._known: dict[Prompt, Hypothesis] = {}
        self._probing = probing
        # Its own, so that a search draws the same candidates with probing and without.
        self._generator = torch.Generator().manual_seed(0 if probing is None else probing.seed)

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
        """The objective of these prompts, in their order.

        Those that the budget does not allow are left out; so are those that probing does not find worth it.
        """
        new = [ids for ids in dict.fromkeys(prompts) if ids not in self._known]
        if self._probing is None or self._probing.probes(len(new)) + 1 >= len(new):
            self._compute(new)
        elif not self.spent:
            self._probe(new, self._probing)
        return [self._known[ids] for ids in prompts if ids in self._known]

    def differentiate(self, prompts: Sequence[Prompt]) -> TokenGradients | None:
        """The gradients of equally long prompts; None where the budget does not allow all of them."""
        if len(self._allowed(prompts)) < len(prompts):
            return None
        found = token_gradients(self.problem.guiding, prompts)
        if self.problem.guide is None:
            self._note(prompts, found.values, found.nll, found.scored)
        else:  # the guide's values are not the objective's
            self._compute([ids for ids in dict.fromkeys(prompts) if ids not in self._known])
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

    def _compute(self, prompts: Sequence[Prompt]) -> None:
        """The objective of new prompts, as far as the budget goes."""
        if allowed := self._allowed(prompts):
            self._note(allowed, *_values(self.problem, allowed))

    def _probe(self, new: Sequence[Prompt], probing: Probing) -> None:
        """The objective of some new prompts at random, and of the draft's best: as many as its ranks call for."""
        assert self.problem.draft is not None
        drafted = _values(self.problem.draft, new)[0].total
        drawn = torch.randperm(len(new), generator=self._generator)[: probing.probes(len(new))].tolist()
        self._compute([new[place] for place in drawn])
        probes = [place for place in drawn if new[place] in self._known]
        true = torch.tensor([self._known[new[place]].objective for place in probes])
        count = probing.filtered(len(new), agreement(drafted[probes].cpu(), true))
        best = [new[place] for place in drafted.argsort(stable=True)[:count].tolist()]
        self._compute([ids for ids in best if ids not in self._known])

    def _note(self, prompts: Sequence[Prompt], values: LossValues, nll: Tensor, scored: Tensor) -> None:
        texts = self.problem.lm.tokenizer.decode(prompts)
        rows = zip(
            prompts, texts, nll.tolist(), scored.tolist(), values.total.tolist(), values.rows(), strict=True
        )
        for ids, text, row_nll, row_scored, total, terms in rows:
            hypothesis = Hypothesis(ids, text, row_nll, row_scored, total, terms, finished=True)
            self._known.setdefault(ids, hypothesis)


def no_draft(probe: int) -> str:
    """What is said of probing where there is nothing to probe with."""
    return (
        f"optimizer.probe={probe} needs a cheap draft of the objective, which only prompts of answers have "
        "(experiment=answers): set optimizer.probe=null"
    )


@torch.no_grad()
def _values(problem: PromptProblem, prompts: Sequence[Prompt]) -> tuple[LossValues, Tensor, Tensor]:
    """The objective of prompts, and of each its summed nats and over how many tokens."""
    texts = problem.lm.tokenizer.decode(prompts)
    nll = torch.zeros(len(prompts), device=problem.lm.device, dtype=torch.float32)
    scored = torch.ones_like(nll, dtype=torch.long)
    if fluency_weight(problem) > 0:
        likelihood = prompt_nll if len(prompts) < FEW else shared_prefix_nll
        nll, scored = likelihood(problem.lm, prompts)
    return problem.objective(PromptBatch(texts, problem.targets, nll, scored)), nll, scored
