"""What a discrete search optimises, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss


@dataclass(frozen=True)
class PromptProblem:
    """Find a prompt that starts with `prefix`, is fluent to `lm` and minimises `objective`.

    Attributes:
        lm: the primary model, whose tokens the prompt is made of.
        objective: what is minimised.
        prefix: how the prompt begins.
        targets: term name -> what the term aims at, as it prepares it; an embedding [e] for terms that match.
        contexts: texts that the prompt may stand behind: a prompt that is drawn from the language model is drawn behind
            one of them. None: it is drawn as a text of its own.
        draft: a cheaper problem that ranks prompts much alike, with the same model and prefix; None where there is
            none. Its objective is another object, since evaluations are counted at the problem's own.
        guide: the problem whose gradients propose candidates, with the same model, prefix and targets; None where they
            are the objective's own.
    """

    lm: CausalLM
    objective: MultiObjectiveLoss
    prefix: str
    targets: Mapping[str, Any]
    contexts: Sequence[str] = ()
    draft: PromptProblem | None = None
    guide: PromptProblem | None = None

    @property
    def guiding(self) -> PromptProblem:
        """The problem whose gradients propose candidates."""
        return self if self.guide is None else self.guide

    @property
    def guide_objective(self) -> MultiObjectiveLoss | None:
        """The guide's objective, which is another object than the problem's own; None without a guide."""
        return None if self.guide is None else self.guide.objective

    def prefix_ids(self) -> tuple[int, ...]:
        """The prefix's content tokens.

        Raises:
            UsageError: the prefix is not read back as it is written.
        """
        tokenizer = self.lm.tokenizer
        (ids,) = tokenizer.encode([self.prefix])
        if tokenizer.decode([ids]) != [self.prefix]:
            raise UsageError(
                f"prefix={self.prefix!r} is read back as {tokenizer.decode([ids])[0]!r} by {self.lm.name}: "
                "use a prefix that its tokenizer keeps"
            )
        return tuple(ids)


@dataclass(frozen=True)
class Hypothesis:
    """A prompt on the way.

    Attributes:
        ids: its content tokens in the primary model.
        text: the prompt.
        nll: the tokens' summed negative log-likelihood, in nats; 0 where the objective does not ask for it.
        scored: over how many tokens `nll` is summed.
        objective: the weighted loss.
        terms: name -> raw and weighted value.
        parent: index in the previous step's beam.
        finished: whether the search will not extend it any more.
    """

    ids: tuple[int, ...]
    text: str
    nll: float
    scored: int
    objective: float
    terms: Mapping[str, Mapping[str, float]]
    parent: int = 0
    finished: bool = False


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and what it cost.

    Attributes:
        best: the best hypothesis.
        steps: the beam after every step, best first.
        evaluations: see Counts.
        gradients: see Counts.
    """

    best: Hypothesis
    steps: Sequence[Sequence[Hypothesis]] = field(default_factory=tuple)
    evaluations: int = 0
    gradients: int = 0


class StepListener(Protocol):
    """Called after every step with the beam that survived it."""

    def __call__(self, beam: Sequence[Hypothesis]) -> None: ...


class Optimizer(Protocol):
    """A discrete search over prompts."""

    @property
    def uses_gradients(self) -> bool:
        """Whether terms need adapters that carry their gradients."""
        ...

    def search(self, problem: PromptProblem, on_step: StepListener | None = None) -> SearchResult:
        """Minimise the problem's objective.

        Args:
            problem: what is minimised.
            on_step: called with the beam of every step.

        Raises:
            UsageError: no candidate is left.
        """
        ...
