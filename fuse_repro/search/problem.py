"""What a discrete search optimises, and what it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss


@dataclass(frozen=True)
class PromptProblem:
    """Find a prompt that starts with `prefix`, is fluent to `lm` and minimises `objective`.

    targets: term name -> what that term's model should match, [e].
    """

    lm: CausalLM
    objective: MultiObjectiveLoss
    prefix: str
    targets: Mapping[str, Tensor]


@dataclass(frozen=True)
class Hypothesis:
    """A prompt on the way.

    ids: its content tokens in the primary model. nll: their summed negative log-likelihood, in nats, over
    `scored` tokens. objective: the weighted loss; terms: name -> raw and weighted value. parent: index
    in the previous step's beam. finished: the search will not extend it any more.
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
    """The best hypothesis and the beam after every step, best first."""

    best: Hypothesis
    steps: Sequence[Sequence[Hypothesis]] = field(default_factory=tuple)


class StepListener(Protocol):
    """Called after every step with the beam that survived it."""

    def __call__(self, beam: Sequence[Hypothesis]) -> None: ...


class Optimizer(Protocol):
    """A discrete search over prompts."""

    def search(self, problem: PromptProblem, on_step: StepListener | None = None) -> SearchResult:
        """Minimise the problem's objective. Raises UsageError where no candidate is left."""
        ...
