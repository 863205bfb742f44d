"""How surprised a language model is by the right answers, given a soft prompt (OptiPrompt; PTfer, eq. 2)."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts.batch import SoftPromptBatch

Candidates = Literal["vocabulary", "answers"]
CANDIDATES = get_args(Candidates)


class AnswerCrossEntropyTerm(nn.Module):
    """Mean cross-entropy of the items' answers, in nats per item, for every soft prompt of a batch.

    Args:
        lm: the model that answers.
        candidates: what the answer competes with: the whole `vocabulary` (paper) or the task's `answers`
            only.

    Raises:
        UsageError: other candidates.
    """

    def __init__(self, lm: FrozenModel, candidates: Candidates = "vocabulary") -> None:
        super().__init__()
        known = f"one of {', '.join(CANDIDATES)}"
        require(candidates in CANDIDATES, "objective.answer.candidates", candidates, known)
        self.candidates = candidates
        self._lm = (lm,)

    def forward(self, batch: SoftPromptBatch) -> Tensor:
        """[B] nats per item.

        Raises:
            UsageError: a batch in which nothing was answered.
        """
        found = batch.answered
        if found is None:
            raise UsageError(
                f"cross-entropy of answers is for tuning a prompt of {self._lm[0].name}; nothing is answered where "
                "prompts are matched: leave this term out of the objective"
            )
        logits = found.logits.float()
        if self.candidates == "answers":
            logits, gold = logits[..., found.candidates], found.gold
        else:
            gold = found.candidates[found.gold]
        return torch.stack([cross_entropy(rows, gold) for rows in logits])
