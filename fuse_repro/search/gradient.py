"""The objective's gradient by one open token of a prompt, at several points in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.alignment.words import Tokenized, WordTokenizer
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.precision import full_precision
from fuse_repro.objectives import OpenSlot, PromptBatch
from fuse_repro.search.linearisation import Linearisation, Point, fillers_embedded
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.requests import Steps, answered
from fuse_repro.search.traces import Gradients, Traced

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
    """The objective of B prompts at R points of the open token, and its gradients by what an adapter's target reads.

    Attributes:
        values: [B, R], the weighted sum of the terms that have gradients.
        joins: of the R points, which ones join the last word.
        traces: per adapter the gradient [B R, S_t, d_t] and the alignment of the texts read, prompt by prompt.
        position: which of the primary model's tokens is the open one.
    """

    values: Tensor
    joins: tuple[bool, ...]
    traces: Sequence[tuple[EmbeddingMap, Tensor, Alignment]]
    position: int

    @property
    def kinds(self) -> tuple[bool, ...]:
        """The kinds of points that there are: of new words (False), that join the last one (True)."""
        return tuple(sorted(set(self.joins)))

    def values_of(self, joins: bool) -> Tensor:
        """The objective at the points of one kind: [B, r]."""
        return self.values.index_select(1, self._places(joins))

    def scores(self, joins: bool = False, instead: EmbeddingMap | None = None) -> Tensor:
        """First-order change with each of V tokens, up to a constant; the mean over points of one kind: [B, V].

        Args:
            joins: the kind of points: those that join the last word, or those that start one.
            instead: a map to pull every gradient back with, in place of the term's own adapter.
        """
        return self.scores_of([joins], instead)[joins]

    def scores_of(self, kinds: Sequence[bool], instead: EmbeddingMap | None = None) -> dict[bool, Tensor]:
        """`scores` of several kinds of points, by one pullback and one product with the vocabulary."""
        total = torch.zeros((), device=self.values.device, dtype=torch.float32)
        with full_precision(self.values.device):
            for adapter, gradient, alignment in self.traces:
                chosen = adapter if instead is None else instead
                pulled = chosen.pull_token(gradient.float(), alignment, self.position).float()
                each = pulled.view(*self.values.shape, -1)
                means = torch.cat([each.index_select(1, self._places(kind)).mean(1) for kind in kinds])
                total = total + chosen.score_tokens(means)
        return dict(zip(kinds, total.split(len(self.values)), strict=True))

    def _places(self, joins: bool) -> Tensor:
        places = [place for place, kind in enumerate(self.joins) if kind == joins]
        return torch.tensor(places, dtype=torch.long, device=self.values.device)


def slot_gradients(
    problem: PromptProblem,
    prompts: Sequence[OpenPrompt],
    linearisation: Linearisation,
    log_probs: Tensor,
    points: Sequence[Sequence[Point]] | None = None,
) -> SlotGradients | None:
    """`slot_steps` by itself."""
    return answered(slot_steps(problem, prompts, linearisation, log_probs, points))


def slot_steps(
    problem: PromptProblem,
    prompts: Sequence[OpenPrompt],
    linearisation: Linearisation,
    log_probs: Tensor,
    points: Sequence[Sequence[Point]] | None = None,
) -> Steps[SlotGradients | None]:
    """Gradients of the terms that have adapters, in one forward and one backward pass of every model.

    The language model's own likelihood is left out: the search knows the log-probabilities of all tokens.

    Args:
        problem: what is minimised.
        prompts: B prompts with one open token, of equally many tokens.
        linearisation: what stands in the open token.
        log_probs: [B, V], of the prompts' next tokens.
        points: the linearisation's points for every prompt, equally many; None asks it.

    Returns:
        None if no term of the objective has a gradient.
    """
    if points is None:
        points = [linearisation.points(problem.lm, row) for row in log_probs]
    batch = _batch(problem, prompts, points, linearisation, log_probs)
    found: Traced | None = yield Gradients(problem.guiding, batch)
    if found is None:
        return None
    assert batch.slot is not None
    joins = tuple(point.joins for point in points[0])
    values = found.total.detach().view(len(prompts), -1)
    return SlotGradients(values, joins, found.traces, batch.slot.position)


def _batch(
    problem: PromptProblem,
    prompts: Sequence[OpenPrompt],
    points: Sequence[Sequence[Point]],
    linearisation: Linearisation,
    log_probs: Tensor,
) -> PromptBatch:
    """Every prompt once per point; the open token has the point's embedding, also in the language model itself."""
    lm, each = problem.lm, len(points[0])
    parts = [_around(prompt, lm.tokenizer) for prompt in prompts]
    position = len(parts[0][0].ids)
    ids = torch.tensor([[*b.ids, *a.ids] for b, a in parts], dtype=torch.long, device=lm.device)
    known = lm.embed(ids).repeat_interleave(each, dim=0)

    def vectors(model: FrozenModel) -> Tensor:
        rows = torch.stack([linearisation.vector(model, lm, row) for row in log_probs])
        return rows.repeat_interleave(each, dim=0)

    fillers = [point for own in points for point in own]
    open_token = vectors(lm) if linearisation.moves else fillers_embedded(lm, fillers)
    whole = torch.cat([known[:, :position], open_token.to(known)[:, None], known[:, position:]], dim=1)
    slot = OpenSlot(
        tokens=[
            tokens
            for prompt, part, own in zip(prompts, parts, points, strict=True)
            for tokens in _with_slots(prompt, *part, own)
        ],
        before=[prompt.before for prompt in prompts for _ in range(each)],
        fillers=[point.filler for point in fillers],
        position=position,
        after=[prompt.after for prompt in prompts for _ in range(each)],
        vectors=vectors if linearisation.moves else None,
    )
    nll, scored = (
        whole.new_tensor([getattr(prompt, name) for prompt in prompts]).repeat_interleave(each)
        for name in ("nll", "scored")
    )
    return PromptBatch(
        texts=slot.before,
        targets=problem.targets,
        nll=nll,
        scored=scored,
        embeddings=whole.requires_grad_(True),
        slot=slot,
    )


def _around(prompt: OpenPrompt, tokenizer: WordTokenizer) -> tuple[Tokenized, Tokenized]:
    """The tokens before and after the open one."""
    before, after = (tokenizer.split([text])[0] if text else EMPTY for text in (prompt.before, prompt.after))
    return before, after


def _with_slots(
    prompt: OpenPrompt, before: Tokenized, after: Tokenized, points: Sequence[Point]
) -> list[Tokenized]:
    """The prompt's tokens with the open one at every point."""
    open_word = not prompt.before[-1:].isspace()  # else whatever comes starts one
    kinds = {joins: _with_slot(before, joins and open_word, after) for joins in (False, True)}
    return [kinds[point.joins] for point in points]


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
