"""Several searches side by side: each by its own rules, while their forward passes are shared.

Searches are generators of requests (see fuse_repro.search.requests). In a round every search goes on to its next
request; requests of one kind are answered in one forward pass. Only what a model computes is shared: scores, choices,
stops and counts are each search's own, and so are its errors. A search that has ended leaves; nothing takes its place.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from fuse_repro.errors import UsageError, require
from fuse_repro.models.metering import charge, metering, unmetered
from fuse_repro.search.garbage import without_full_passes
from fuse_repro.search.metering import Counts, counting
from fuse_repro.search.problem import Optimizer, PromptProblem, SearchResult, StepListener
from fuse_repro.search.requests import Request, Steps, encoders


@runtime_checkable
class Stepwise(Protocol):
    """A search that says what it asks of models."""

    def asking(
        self, problem: PromptProblem, counts: Counts, on_step: StepListener | None = None
    ) -> Steps[SearchResult]:
        """A search as a generator of requests; `counts` holds what has been computed for it so far."""
        ...


@dataclass(frozen=True)
class Ended:
    """How a search ended.

    Attributes:
        number: which of the problems it was for.
        outcome: what it found, or why it found nothing.
        cost: what models computed for it, for its record; as much as if it had been alone.
        seconds: its share of the time that all took.
    """

    number: int
    outcome: SearchResult | UsageError
    cost: dict[str, Any]
    seconds: float

    def found(self) -> SearchResult:
        """What it found. Raises UsageError where that is nothing."""
        if isinstance(self.outcome, UsageError):
            raise self.outcome
        return self.outcome


@dataclass
class _Running:
    """A search that has not ended: the request that it waits for, and then the answer to it."""

    number: int
    problem: PromptProblem
    steps: Steps[SearchResult]
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    request: Request | None = None
    answer: Any = None

    def go_on(self) -> Ended | None:
        """To the next request, or to the end."""
        try:
            with counting(self.problem.objective, self.counts, self.problem.guide_objective):
                if isinstance(self.answer, UsageError):
                    self.request = self.steps.throw(self.answer)
                else:
                    self.request = self.steps.send(self.answer)
        except StopIteration as end:
            return self._ended(end.value)
        except UsageError as error:
            return self._ended(error)
        return None

    def ask_alone(self) -> None:
        """Answer the request of this search by itself."""
        assert self.request is not None
        try:
            with counting(self.problem.objective, self.counts, self.problem.guide_objective):
                self.answer = self.request.alone()
        except UsageError as error:
            self.answer = error

    def _ended(self, outcome: SearchResult | UsageError) -> Ended:
        return Ended(self.number, outcome, self.counts.meter.cost(), self.seconds)


def searched(
    optimizer: Optimizer, problems: Sequence[PromptProblem], on_step: StepListener | None = None
) -> Iterator[Ended]:
    """Every search as it ends: side by side where the optimizer can, else one after another.

    Args:
        optimizer: of all searches.
        problems: with one language model and one objective; their prefixes and targets may differ.
        on_step: called with the beam of every step of every search.
    """
    if isinstance(optimizer, Stepwise):
        yield from side_by_side(optimizer, problems, on_step)
        return
    for number, problem in enumerate(problems):
        outcome: SearchResult | UsageError
        with metering() as spent, without_full_passes():
            try:
                outcome = optimizer.search(problem, on_step)
            except UsageError as error:
                outcome = error
        yield Ended(number, outcome, spent.cost(), spent.seconds)


def side_by_side(
    search: Stepwise, problems: Sequence[PromptProblem], on_step: StepListener | None = None
) -> Iterator[Ended]:
    """As `searched`, of a search that says what it asks of models."""
    going = []
    for number, problem in enumerate(problems):
        counts = Counts()
        going.append(_Running(number, problem, search.asking(problem, counts, on_step), counts))
    with ExitStack() as stack:
        if len(problems) > 1:
            for encoder in encoders(problems[0].objective):
                stack.enter_context(encoder.reading_ahead())
        while going:
            with without_full_passes():
                ended, going = _rounds(going, len(problems))
            yield from ended


def _rounds(going: Sequence[_Running], most: int) -> tuple[list[Ended], list[_Running]]:
    """Rounds until at least one search ends: those that ended, and those that go on."""
    while True:
        begun = time.perf_counter()
        for company in _companies(going):
            _answer(company, most)
        outcomes = [(running, running.go_on()) for running in going]
        _share(begun, going)
        ended = [replace(one, seconds=running.seconds) for running, one in outcomes if one is not None]
        if ended:
            return ended, [running for running, one in outcomes if one is None]


def _share(begun: float, going: Sequence[_Running]) -> None:
    """Everyone takes an equal share of the time since then."""
    for running in going:
        running.seconds += (time.perf_counter() - begun) / len(going)


def _companies(going: Sequence[_Running]) -> list[list[_Running]]:
    """The searches whose requests are answered together; one that has not begun has no request."""
    found: dict[Any, list[_Running]] = {}
    for running in going:
        if running.request is None:
            continue
        shared = running.request.company
        key = running.number if shared is None else (type(running.request), shared)
        found.setdefault(key, []).append(running)
    return list(found.values())


def _answer(company: Sequence[_Running], most: int) -> None:
    """Answer the requests of a company; where there is no answer for all, each alone."""
    if len(company) > 1:
        try:
            _answer_joined(company, most)
            return
        except UsageError:  # of one of them, or too little memory for two
            pass
    for running in company:
        running.ask_alone()


def _answer_joined(company: Sequence[_Running], most: int) -> None:
    requests = [running.request for running in company if running.request is not None]
    joined: Callable[[Any], list[tuple[Any, Counts]]] = type(requests[0]).joined

    def answers(part: slice) -> list[tuple[Any, Counts]]:
        with unmetered():
            return joined(requests[part])

    batches = company[0].problem.lm.batches(requests[0].unit, most)
    answered = [each for _, found in batches.each(len(requests), answers) for each in found]
    for running, (answer, counts) in zip(company, answered, strict=True):
        running.answer = answer
        running.counts.add(counts)
        charge(counts.meter)


def check_together(value: object) -> None:
    """Raise UsageError unless `optimizer.together` is a number of searches, or None."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    good = value is None or (whole and int(str(value)) >= 1)
    require(good, "optimizer.together", value, "a whole number of at least 1, or null")
