"""Which next tokens are promising: log-probabilities, gradients and zeroth-order estimates in one score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fuse_repro.alignment.token_pieces import starts_word, token_texts
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import unmetered
from fuse_repro.objectives import FluencyTerm, PromptBatch
from fuse_repro.search.gradient import OpenPrompt, slot_steps
from fuse_repro.search.linearisation import Linearisation, Point
from fuse_repro.search.problem import Hypothesis, PromptProblem
from fuse_repro.search.requests import Start, Steps, answered
from fuse_repro.search.scoring import by_kind, combine
from fuse_repro.search.traces import carried_terms
from fuse_repro.search.unread import Opening, State, Unread
from fuse_repro.weights import cache_folder

ZEROTH = ("none", "alone", "context")
_tables: WeakKeyDictionary[nn.Module, WeakKeyDictionary[FrozenModel, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Proposal:
    """Settings of the score of next tokens, shared by searches; a higher score is more promising.

    A score that is not calibrated is logprob_weight * log p - gradient_weight * the first-order change (the
    paper). A calibrated score standardises the two kinds of tokens apart: those that start a word, and those
    that join the last one. It brings each kind to the objective's scale by the objective's values at the
    points, which the gradients gave for free. Then log p counts as much as in the objective. A single point
    has no spread; there the spread of the terms' estimates is taken, for which a table is made.

    Attributes:
        logprob_weight: of log p(token | prompt).
        gradient_weight: of the predicted change of the objective's other terms; 0 leaves them out, and their
            adapters.
        linearisation: where gradients are taken.
        zeroth: an estimate without any gradient, beside it: "none", "alone" (what every token alone means to
            a secondary model: a table made once) or "context" (as part of the prompt; see the terms'
            `word_estimates`).
        zeroth_weight: of that estimate against the gradient, both standardised over the vocabulary. The first
            number is for tokens that start a word, the second for those that join the last one.
        calibrated: whether the score is brought to the objective's scale.
        cache_dir: where tables are kept; None as in the root config.

    Raises:
        UsageError: a setting out of range.
    """

    logprob_weight: float = 1.0
    gradient_weight: float = 1.0
    linearisation: Linearisation = field(default_factory=Linearisation)
    zeroth: str = "none"
    zeroth_weight: Sequence[float] = (1.0, 0.5)
    calibrated: bool = False
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        for name in ("logprob_weight", "gradient_weight"):
            require(getattr(self, name) >= 0, f"optimizer.{name}", getattr(self, name), "at least 0")
        require(self.zeroth in ZEROTH, "optimizer.zeroth", self.zeroth, f"one of {', '.join(ZEROTH)}")
        good = len(self.zeroth_weight) == 2 and min(self.zeroth_weight) >= 0
        require(good, "optimizer.zeroth_weight", self.zeroth_weight, "two numbers of at least 0")
        good = self.calibrated or self.zeroth == "none"
        require(good, "optimizer.zeroth", self.zeroth, "none, unless optimizer.calibrated=true")

    def reads_lm(self, problem: PromptProblem) -> bool:
        """Whether the search needs the language model's log-probabilities at all.

        The objective needs them if fluency counts. The score needs them if log p counts; a calibrated score
        weighs log p as the objective does. Gradients need them if they are taken at points that the language
        model chooses.
        """
        if fluency_weight(problem) > 0 or (self.logprob_weight > 0 and not self.calibrated):
            return True
        return self.gradient_weight > 0 and self.linearisation.follows_lm

    def begin(self, problem: PromptProblem, prompts: Sequence[Hypothesis]) -> Steps[State]:
        """The language model's state after these prompts, which have equally many tokens."""
        lm = problem.lm
        if not self.reads_lm(problem):
            return Unread.of(lm, len(prompts))
        if Opening.fits(lm, prompts[0].ids):
            return Opening.of(lm)
        ids = torch.tensor([[*lm.tokenizer.prefix_ids, *h.ids] for h in prompts], device=lm.device)
        state: State = yield Start(lm, ids)
        return state

    def scores(self, problem: PromptProblem, prompts: Sequence[Hypothesis], state: State) -> Tensor:
        """`scoring` by itself."""
        return answered(self.scoring(problem, prompts, state))

    def scoring(self, problem: PromptProblem, prompts: Sequence[Hypothesis], state: State) -> Steps[Tensor]:
        """[B, V], higher is more promising."""
        share = torch.ones(len(prompts), device=state.log_probs.device, dtype=torch.float32)
        if self.calibrated:
            share = fluency_weight(problem) / (share.new_tensor([h.scored for h in prompts]) + 1)
        scores = self.logprob_weight * share[:, None] * state.log_probs
        if self.gradient_weight > 0:
            opened = [OpenPrompt(h.text, h.nll, h.scored) for h in prompts]
            change = yield from self.predicting(problem, opened, state.log_probs)
            scores = scores - self.gradient_weight * change
        return scores

    def predict(self, problem: PromptProblem, prompts: Sequence[OpenPrompt], log_probs: Tensor) -> Tensor:
        """`predicting` by itself."""
        return answered(self.predicting(problem, prompts, log_probs))

    def predicting(
        self, problem: PromptProblem, prompts: Sequence[OpenPrompt], log_probs: Tensor
    ) -> Steps[Tensor]:
        """The predicted change of the terms that have adapters, with each of V tokens: [B, V].

        Args:
            problem: what is minimised.
            prompts: B prompts of equally many tokens.
            log_probs: [B, V], of their open tokens.
        """
        points = [self.linearisation.points(problem.lm, row) for row in log_probs]
        alike: dict[int, list[int]] = {}
        for row, own in enumerate(points):
            alike.setdefault(len(own), []).append(row)  # a prompt may have fewer likely words than another
        parts = []
        for rows in alike.values():
            given, open_at = [prompts[row] for row in rows], [points[row] for row in rows]
            parts.append((yield from self._predict(problem, given, open_at, log_probs[rows])))
        order = [row for rows in alike.values() for row in rows]
        return parts[0] if len(parts) == 1 else torch.cat(parts)[torch.tensor(order).argsort()]

    def _predict(
        self,
        problem: PromptProblem,
        prompts: Sequence[OpenPrompt],
        points: Sequence[Sequence[Point]],
        log_probs: Tensor,
    ) -> Steps[Tensor]:
        """`predicting` of prompts with equally many points."""
        found = yield from slot_steps(problem, prompts, self.linearisation, log_probs, points)
        if found is None:
            return torch.zeros_like(log_probs)
        if not self.calibrated:
            return found.scores()
        values = {kind: found.values_of(kind) for kind in found.kinds}
        zeroth = typical = None
        if self.zeroth != "none":
            zeroth = self._estimate(problem, prompts, lambda term: self.zeroth == "context")
        if min(seen.shape[1] for seen in values.values()) == 1:
            typical = self._estimate(problem, prompts, _spreads_in_context)
        return combine(
            found.scores_of(found.kinds),
            zeroth,
            token_kinds(problem.lm.tokenizer, log_probs.device),
            self.zeroth_weight,
            values,
            typical,
        )

    def in_context(self, problem: PromptProblem, texts: Sequence[str]) -> Tensor | None:
        """The weighted estimate without gradients of one more word in each of B texts: [B, V]; None without any."""
        return self._estimate(problem, [OpenPrompt(text) for text in texts], lambda term: True)

    def _estimate(
        self, problem: PromptProblem, prompts: Sequence[OpenPrompt], context: Callable[[Any], bool]
    ) -> Tensor | None:
        """The weighted estimate [B, V] of the terms that have one, in context where `context` says so of a term."""
        folder = cache_folder(self.cache_dir)
        batch = PromptBatch([prompt.before + prompt.after for prompt in prompts], problem.targets)
        estimates = [
            problem.objective.weights[name]
            * term.word_estimates(batch, _table(term, problem.lm, folder), context(term))
            for name, term in carried_terms(problem).items()
            if all(can_estimate(term, prompt) for prompt in prompts)
        ]
        return torch.stack(estimates).sum(0) if estimates else None


def can_estimate(term: Any, prompt: OpenPrompt) -> bool:
    """Whether the term has an estimate without gradients for this prompt."""
    return hasattr(term, "word_estimates") and (not prompt.after or bool(term.estimates_inside))


def _spreads_in_context(term: Any) -> bool:
    """Whether a term's estimates differ as much as the term does in context, rather than alone."""
    return bool(getattr(term, "spreads_in_context", False))


def fluency_weight(problem: PromptProblem) -> float:
    """What the primary model's nats per token count in the objective."""
    terms, weights = problem.objective.terms, problem.objective.weights
    return sum(weights[name] for name, term in terms.items() if isinstance(term, FluencyTerm))


@lru_cache(maxsize=8)
def joining(tokenizer: WordTokenizer) -> Tensor:
    """Which of the V tokens go on with the last word of a text: [V], bool."""
    texts = token_texts(tokenizer, range(tokenizer.vocab_size))
    return torch.tensor([not starts_word(text) for text in texts])


@lru_cache(maxsize=8)
def token_kinds(tokenizer: WordTokenizer, device: torch.device) -> dict[bool, Tensor]:
    """The tokens that start a word, and those that go on with one, on a device."""
    return by_kind(joining(tokenizer).to(device))


def _table(term: Any, source: FrozenModel, folder: Path | None) -> Any:
    """A term's table of the source's vocabulary, made once per term and source."""
    known = _tables.setdefault(term, WeakKeyDictionary())
    if source not in known:
        with unmetered():  # kept for all searches
            known[source] = term.word_table(source, folder)
    return known[source]
