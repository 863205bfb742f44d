"""PEZ: hard prompts by gradients at the nearest tokens (Wen et al. 2023, arXiv 2302.03668, Algorithm 1)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.errors import require
from fuse_repro.search.fixed_length import FixedLengthSearch
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.projection import project
from fuse_repro.search.trials import Prompt, Trials


@dataclass(frozen=True)
class PEZ(FixedLengthSearch):
    """Moves soft tokens by the gradients that the tokens nearest to them have (AdamW, as in the paper).

    Only prompts that survive decode -> encode are evaluated. A prompt that was met before is not computed
    again: its objective and gradient are known.

    Attributes:
        steps: how many steps are taken at the most.
        restarts: how many soft prompts are searched at a time.
        learning_rate: in units of the embeddings' root mean square, so that it means the same in every model.
        weight_decay: AdamW's (paper: 0.1).

    Raises:
        UsageError: a setting out of range.
    """

    steps: int = 1000
    restarts: int = 1
    learning_rate: float = 0.5
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("restarts")
        require(self.learning_rate > 0, "optimizer.learning_rate", self.learning_rate, "above 0")
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "at least 0")

    def walk(
        self, problem: PromptProblem, trials: Trials, generator: torch.Generator
    ) -> Iterator[Hypothesis]:
        """The best of the projected prompts of every step."""
        lm = problem.lm
        prompts = self._start(trials, self.restarts, generator)
        ids = torch.tensor([prompt[-self.tokens :] for prompt in prompts], device=lm.device)
        soft = lm.embed(ids).detach().float().clone().requires_grad_(True)
        unit = float(lm.embedding_table().float().square().mean().sqrt())
        rate, decay = self.learning_rate * unit, self.weight_decay
        optimizer = torch.optim.AdamW([soft], lr=rate, weight_decay=decay)
        gradients: dict[Prompt, Tensor] = {}
        while self._differentiate(prompts, trials, gradients):
            yield min((trials.known(prompt) for prompt in prompts), key=lambda h: h.objective)
            soft.grad = torch.stack([gradients[prompt] for prompt in prompts])
            optimizer.step()
            prompts = project(problem, soft.detach(), trials.permitted)

    def _differentiate(self, prompts: list[Prompt], trials: Trials, gradients: dict[Prompt, Tensor]) -> bool:
        """Adds the gradients [n, d] of prompts not met before; false where the budget does not allow that."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in gradients]
        if not new:
            return True
        found = trials.differentiate(new)
        if found is None:
            return False
        gradients.update(zip(new, found.embeddings[:, -self.tokens :], strict=True))
        return True
