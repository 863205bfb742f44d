"""The gradients of an objective by what secondary models read: of one search, or of several in one pass."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.models.precision import as_forward
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import MultiObjectiveLoss, PromptBatch
from fuse_repro.search.metering import Counts, counting
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.requests import Request, encoders

Trace = tuple[EmbeddingMap, Tensor, Alignment]


@dataclass(frozen=True)
class Traced:
    """An objective, and what its gradient goes through.

    Attributes:
        total: [B], the weighted sum of the terms that have gradients.
        traces: per adapter what its target reads [B, S_t, d_t], or the gradient by that, and the alignment.
    """

    total: Tensor
    traces: Sequence[Trace]


@dataclass(frozen=True, eq=False)
class Gradients(Request):
    """The gradients of the terms that have adapters by what the adapters' targets read; None without such a term.

    In company every search aligns its own texts and compares with its own target; encoders go forward and back once.
    """

    unit = "linearised beam"
    problem: PromptProblem
    batch: PromptBatch

    @property
    def company(self) -> Hashable:
        objective = self.problem.objective
        targets = {term.adapter.target for term in carried_terms(self.problem).values()}
        return objective if targets and targets <= set(encoders(objective)) else None

    def alone(self) -> Traced | None:
        with torch.enable_grad():
            traced = _forward(self.problem, self.batch)
            return None if traced is None else _backward([traced])[0]

    @classmethod
    def joined(cls, requests: Sequence["Gradients"]) -> list[tuple[Any, Counts]]:
        with torch.enable_grad(), ExitStack() as stack:
            for request in requests:
                stack.callback(request.batch.ahead.clear)
            carried = [_carry(request) for request in requests]
            parts: dict[TextEncoder, list[tuple[Tensor, Tensor]]] = {}
            for adapter, embeddings, alignment in (trace for own in carried for trace in own):
                assert isinstance(adapter.target, TextEncoder)
                parts.setdefault(adapter.target, []).append((embeddings, alignment.target_mask))
            for encoder, own_parts in parts.items():
                assert encoder.ahead is not None
                stack.enter_context(encoder.ahead.embeddings(own_parts))
            forwards, costs = [], []
            for request, traces in zip(requests, carried, strict=True):
                with counting(request.problem.objective) as counts:
                    traced = _forward(request.problem, request.batch, traces)
                assert traced is not None
                forwards.append(traced)
                costs.append(counts)
            return list(zip(_backward(forwards), costs, strict=True))


def carried_terms(problem: PromptProblem) -> dict[str, Any]:
    """The terms that count and have an adapter to carry their gradient."""
    return carried_terms_of(problem.objective)


def carried_terms_of(objective: MultiObjectiveLoss) -> dict[str, Any]:
    """As `carried_terms`."""
    weights, terms = objective.weights, objective.terms.items()
    return {n: term for n, term in terms if weights[n] > 0 and getattr(term, "adapter", None) is not None}


def _carry(request: Gradients) -> list[Trace]:
    """What the terms will read; the batch gives it to them when they ask."""
    batch = request.batch
    with _watching(request.problem) as seen:
        for name, term in carried_terms(request.problem).items():
            batch.ahead[name] = batch.carried(term.adapter, name)
    return _in_order(seen)


def _forward(problem: PromptProblem, batch: PromptBatch, before: Sequence[Trace] = ()) -> Traced | None:
    """The objective of a batch, and what was embedded for it, now and `before`."""
    with _watching(problem) as seen:
        weighted = problem.objective(batch).weighted
    traces = [*before, *_in_order(seen)]
    if not traces:
        return None
    return Traced(torch.stack([weighted[name] for name in carried_terms(problem)]).sum(0), traces)


def _backward(forwards: Sequence[Traced]) -> list[Traced]:
    """The gradients in place of what they are by, in one pass for all."""
    each = [traced.total.sum() for traced in forwards]
    total = each[0] if len(each) == 1 else torch.stack(each).sum()
    with as_forward(total.device):
        wanted = [embeddings for traced in forwards for _, embeddings, _ in traced.traces]
        gradients = iter(torch.autograd.grad(total, wanted))
    return [
        Traced(
            traced.total.detach(),
            [(adapter, next(gradients), alignment) for adapter, _, alignment in traced.traces],
        )
        for traced in forwards
    ]


@contextmanager
def _watching(problem: PromptProblem) -> Iterator[dict[EmbeddingMap, list[tuple[Tensor, Alignment]]]]:
    """What every adapter embeds meanwhile."""
    adapters = dict.fromkeys(term.adapter for term in carried_terms(problem).values())
    with ExitStack() as stack:
        yield {adapter: stack.enter_context(adapter.watching()) for adapter in adapters}


def _in_order(seen: dict[EmbeddingMap, list[tuple[Tensor, Alignment]]]) -> list[Trace]:
    return [(adapter, *trace) for adapter, found in seen.items() for trace in found]
