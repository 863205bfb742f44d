"""What searches over prompts of a fixed number of tokens share: the start, the budget, the result."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch

from fuse_repro.errors import require
from fuse_repro.search.constraints import Constraints
from fuse_repro.search.metering import Counts, check_bounds, counting
from fuse_repro.search.probing import Probing
from fuse_repro.search.problem import Hypothesis, PromptProblem, SearchResult, StepListener
from fuse_repro.search.projection import STARTS, starting_prompts
from fuse_repro.search.trials import Prompt, Trials


@dataclass(frozen=True)
class FixedLengthSearch(ABC):
    """Settings that such searches have in common.

    Attributes:
        tokens: how many tokens come after the prefix.
        start: what they are at first: "likely" (drawn from the language model) or "random".
        starts: how many prompts are drawn at first, of which the search begins with the best; each but the first is an
            evaluation more.
        steps: how many steps are taken at the most.
        max_evaluations: how often the objective may be computed; None: no bound.
        max_flops: the search ends with the step in which the models have computed so many floating-point operations;
            None: no bound.
        max_seconds: the search ends with the step in which so many seconds have gone by; None: no bound.
        constraints: what may stand behind the prefix.
        seed: of every random choice.

    Raises:
        UsageError: a setting out of range.
    """

    tokens: int = 8
    start: str = "likely"
    starts: int = 1
    steps: int = 100
    max_evaluations: int | None = None
    max_flops: float | None = None
    max_seconds: float | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seed: int = 0

    def __post_init__(self) -> None:
        self._at_least_one("tokens", "steps", "starts")
        require(self.start in STARTS, "optimizer.start", self.start, f"one of {', '.join(STARTS)}")
        check_bounds(self.max_evaluations, self.max_flops, self.max_seconds)

    @abstractmethod
    def walk(
        self, problem: PromptProblem, trials: Trials, generator: torch.Generator
    ) -> Iterator[Hypothesis]:
        """The prompt after every step, until the budget is spent."""

    @property
    def uses_gradients(self) -> bool:
        """Whether terms need adapters that carry their gradients; they do unless a search says otherwise."""
        return True

    def search(self, problem: PromptProblem, on_step: StepListener | None = None) -> SearchResult:
        """Minimise the objective; the best prompt ever evaluated is the result.

        Args:
            problem: what is minimised.
            on_step: called with the prompt of every step. It also sees steps that change nothing, which the
                result leaves out.

        Raises:
            UsageError: the prefix is not read back as it is written, or no candidate is left.
        """
        generator = torch.Generator().manual_seed(self.seed)
        steps: list[tuple[Hypothesis, ...]] = []
        with counting(problem.objective, guide=problem.guide_objective) as counts:
            trials = self._trials(problem, counts)
            for current in islice(self.walk(problem, trials, generator), self.steps):
                if not steps or current.ids != steps[-1][0].ids:
                    steps.append((current,))
                if on_step is not None:
                    on_step([current])
                if counts.reach(self.max_flops, self.max_seconds):
                    break
        return SearchResult(trials.best, tuple(steps), counts.evaluations, counts.gradients)

    def _trials(self, problem: PromptProblem, counts: Counts) -> Trials:
        return Trials(problem, counts, self.max_evaluations, self.constraints.of(problem, self.tokens))

    def _start(self, trials: Trials, count: int, generator: torch.Generator) -> list[Prompt]:
        """The `count` prompts that the search begins with."""
        many = max(count, self.starts)
        drawn = starting_prompts(trials.problem, many, self.tokens, self.start, generator, trials.permitted)
        if many == count:
            return drawn
        found = sorted(trials.evaluate(drawn), key=lambda hypothesis: hypothesis.objective)
        return [hypothesis.ids for hypothesis in found[:count]]

    def _at_least_one(self, *names: str) -> None:
        for name in names:
            require(getattr(self, name) >= 1, f"optimizer.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True)
class CandidateSearch(FixedLengthSearch):
    """Settings of searches that draw candidates in a step and take the best.

    Attributes:
        probe: one candidate in so many is a probe, which says how far a cheap draft of the objective can be trusted;
            only probes and the draft's best are evaluated then (see `Probing`). None: all candidates are.
        probe_filter: of a draft that is not trusted at all, one candidate in so many is taken.

    Raises:
        UsageError: a setting out of range; a search also raises it where `probe` is given and there is no draft.
    """

    probe: int | None = None
    probe_filter: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.probing()

    def probing(self) -> Probing | None:
        """How candidates are probed; None where all of them are evaluated."""
        if self.probe is None:
            self._at_least_one("probe_filter")
            return None
        return Probing(self.probe, self.probe_filter, self.seed)

    def _trials(self, problem: PromptProblem, counts: Counts) -> Trials:
        permitted = self.constraints.of(problem, self.tokens)
        return Trials(problem, counts, self.max_evaluations, permitted, self.probing())
