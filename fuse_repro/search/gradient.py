"""The objective's gradient by a token that is not chosen yet."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuse_repro.objectives import OpenSlot, PromptBatch
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.words import Tokenized


def slot_gradient(problem: PromptProblem, beam: Sequence[Hypothesis], dummy: str) -> Tensor:
    """d objective / d embedding of the next token, for B prompts of equal length: [B, d].

    Each prompt has a slot of its own, filled by `dummy` in the secondary models (see OpenSlot), a word of
    its own after the prompt. Gradients do not mix between prompts, since every term is per candidate.
    """
    lm = problem.lm
    tokens = [_with_slot(text) for text in lm.tokenizer.split([h.text for h in beam])]
    ids = torch.tensor([h.ids for h in beam], device=lm.device)
    known = lm.embed(ids)
    embeddings = torch.cat([known, known.new_zeros(len(beam), 1, known.shape[-1])], dim=1)
    embeddings.requires_grad_(True)
    batch = PromptBatch(
        texts=[h.text for h in beam],
        targets=problem.targets,
        nll=embeddings.new_tensor([h.nll for h in beam]),
        scored=embeddings.new_tensor([h.scored for h in beam]),
        embeddings=embeddings,
        slot=OpenSlot(tokens, dummy),
    )
    with torch.enable_grad():
        total = problem.objective(batch).total.sum()
    if not total.requires_grad:
        return known.new_zeros(len(beam), known.shape[-1])
    (gradient,) = torch.autograd.grad(total, embeddings)
    return gradient[:, -1]


def _with_slot(text: Tokenized) -> Tokenized:
    end = len(text.ids)
    return Tokenized((*text.ids, 0), (*text.words, ""), (*text.spans, (end, end + 1)))
