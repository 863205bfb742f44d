"""The objective's gradient by one open token of a prompt, at several points in one forward pass."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.alignment.words import Tokenized
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision
from fuse_repro.objectives import OpenSlot, PromptBatch
from fuse_repro.search.linearisation import Linearisation, Point
from fuse_repro.search.problem import PromptProblem

EMPTY = Tokenized((), (), ())


@dataclass(frozen=True)
class OpenPrompt:
    """A prompt with one open token.

    Attributes:
        before: the text before the open token.
        nll: of the text before, as a Hypothesis has it, in nats.
        scored: over how many tokens `nll` is summed.
        after: the text after the open token; it starts with a space, or is empty.
    """

    before: str
    nll: float = 0.0
    scored: int = 1
    after: str = ""


@dataclass(frozen=True)
class SlotGradients:
    """The objective at R points of the open token, and its gradients by what an adapter's target reads there.

    Attributes:
        values: [R], the weighted sum of the terms that have gradients.
        joins: [R], which points join the last word.
        traces: per adapter the gradient [R, S_t, d_t] and the alignment of the texts read.
        position: which of the primary model's tokens is the open one.
    """

    values: Tensor
    joins: Tensor
    traces: Sequence[tuple[EmbeddingMap, Tensor, Alignment]]
    position: int

    def scores(self, joins: bool = False, instead: EmbeddingMap | None = None) -> Tensor:
        """First-order change with each of V tokens, up to a constant; the mean over points of one kind: [V].

        Args:
            joins: the kind of points: those that join the last word, or those that start one.
            instead: a map to pull every gradient back with, in place of the term's own adapter.
        """
        total = torch.zeros((), device=self.values.device, dtype=torch.float32)
        with full_precision(self.values.device):
            for adapter, gradient, alignment in self.traces:
                chosen = adapter if instead is None else instead
                pulled = chosen.pull_token(gradient.float(), alignment, self.position)[self.joins == joins]
                total = total + chosen.score_tokens(pulled.float().mean(0, keepdim=True))[0]
        return total


def slot_gradients(
    problem: PromptProblem, prompt: OpenPrompt, linearisation: Linearisation, log_probs: Tensor
) -> SlotGradients | None:
    """Gradients at every point of the linearisation, in one forward and one backward pass.

    Args:
        problem: whose objective is meant.
        prompt: the prompt with the open token.
        linearisation: the points.
        log_probs: [V], of the prompt's next token.

    Returns:
        None if no term of the objective has a gradient.
    """
    points = linearisation.points(problem.lm, log_probs)
    batch = _batch(problem, prompt, points, linearisation, log_probs)
    adapters = list(dict.fromkeys(term.adapter for term in carried_terms(problem).values()))
    with ExitStack() as stack, torch.enable_grad():
        seen = [stack.enter_context(adapter.watching()) for adapter in adapters]
        weighted = problem.objective(batch).weighted
        values = [weighted[name] for name in carried_terms(problem)]
        traces = [(adapter, *trace) for adapter, found in zip(adapters, seen, strict=True) for trace in found]
        if not traces:
            return None
        total = torch.stack(values).sum(0)
        with full_precision(total.device):
            gradients = torch.autograd.grad(total.sum(), [embeddings for _, embeddings, _ in traces])
    joins = torch.tensor([point.joins for point in points], device=total.device)
    position = len(problem.lm.tokenizer.encode([prompt.before])[0])
    pairs = zip(gradients, traces, strict=True)
    found_traces = [(adapter, gradient, alignment) for gradient, (adapter, _, alignment) in pairs]
    return SlotGradients(total.detach(), joins, found_traces, position)


def carried_terms(problem: PromptProblem) -> dict[str, Any]:
    """The terms that count and have an adapter to carry their gradient."""
    weights = problem.objective.weights
    terms = problem.objective.terms.items()
    return {n: term for n, term in terms if weights[n] > 0 and getattr(term, "adapter", None) is not None}


def _batch(
    problem: PromptProblem,
    prompt: OpenPrompt,
    points: Sequence[Point],
    linearisation: Linearisation,
    log_probs: Tensor,
) -> PromptBatch:
    """The prompt once per point; the open token's own embedding is zero, only its gradient is asked for."""
    lm = problem.lm
    before, after = (
        lm.tokenizer.split([text])[0] if text else EMPTY for text in (prompt.before, prompt.after)
    )
    known = lm.embed(torch.tensor([*before.ids, *after.ids], dtype=torch.long, device=lm.device))
    whole = torch.cat(
        [known[: len(before.ids)], known.new_zeros(1, known.shape[1]), known[len(before.ids) :]]
    )
    rows = len(points)
    open_word = not prompt.before[-1:].isspace()  # else whatever comes starts one

    def vectors(model: FrozenModel) -> Tensor:
        return linearisation.vector(model, lm, log_probs).expand(rows, -1)

    slot = OpenSlot(
        tokens=[_with_slot(before, point.joins and open_word, after) for point in points],
        before=[prompt.before] * rows,
        fillers=[point.filler for point in points],
        position=len(before.ids),
        after=[prompt.after] * rows,
        vectors=vectors if linearisation.moves else None,
    )
    return PromptBatch(
        texts=[prompt.before] * rows,
        targets=problem.targets,
        nll=whole.new_full((rows,), prompt.nll),
        scored=whole.new_full((rows,), prompt.scored),
        embeddings=whole.expand(rows, -1, -1).clone().requires_grad_(True),
        slot=slot,
    )


def _with_slot(before: Tokenized, joins: bool, after: Tokenized) -> Tokenized:
    """The tokens of `before`, one more (of a new word, or of the last one), and those of `after`."""
    size = len(before.ids)
    spans = list(before.spans)
    words = list(before.words)
    if joins and spans:
        spans[-1] = (spans[-1][0], size + 1)
    else:
        spans.append((size, size + 1))
        words.append("")
    spans += [(start + size + 1, stop + size + 1) for start, stop in after.spans]
    return Tokenized((*before.ids, 0, *after.ids), (*words, *after.words), tuple(spans))
