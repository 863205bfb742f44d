"""What a search asks of models: questions that several searches can ask in one forward pass."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.metering import Meter, metering
from fuse_repro.models.text_encoder import TextEncoder
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.search.metering import Counts
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.unread import State

T = TypeVar("T")


class Request(ABC):
    """A question whose answer takes forward passes.

    A search is a generator: it yields requests, is sent the answers, and returns what it found.

    Attributes:
        unit: what it is a request for, of which a batch holds as many as fit in memory.
    """

    unit: ClassVar[str]

    @property
    def company(self) -> Hashable:
        """Requests of one class are answered together where this is equal; None: each alone."""
        return None

    @abstractmethod
    def alone(self) -> Any:
        """The answer to this request. Raises UsageError where there is none."""

    @classmethod
    @abstractmethod
    def joined(cls, requests: Sequence[Any]) -> list[tuple[Any, Counts]]:
        """The answers to several, and what each would have cost alone. Raises UsageError where one has none."""


Steps = Generator[Request, Any, T]


def answered(steps: Steps[T]) -> T:
    """What a search returns, or a part of one, when it is by itself."""
    try:
        request = next(steps)
        while True:
            request = steps.send(request.alone())
    except StopIteration as end:
        found: T = end.value
        return found


@dataclass(frozen=True, eq=False)
class Start(Request):
    """The state of the language model after prompts of token ids [B, S], with the tokens in front; see CausalLM."""

    unit = "beam"
    lm: CausalLM
    ids: Tensor

    @property
    def company(self) -> Hashable:
        return self.lm, self.ids.shape[1]

    def alone(self) -> State:
        return self.lm.start(self.ids)

    @classmethod
    def joined(cls, requests: Sequence["Start"]) -> list[tuple[Any, Counts]]:
        sizes = [len(request.ids) for request in requests]
        with metering() as cost:
            whole = requests[0].lm.start(torch.cat([request.ids for request in requests]))
        return _shared_out(whole, sizes, cost)


@dataclass(frozen=True, eq=False)
class Advance(Request):
    """The state of prompts `parents[i]` of a state, each followed by `tokens[i]`: [B2] both."""

    unit = "beam"
    state: State
    parents: Tensor
    tokens: Tensor

    @property
    def company(self) -> Hashable:
        return id(self.state.whole) if isinstance(self.state, SharedRows) else None

    def alone(self) -> State:
        return self.state.advance(self.parents, self.tokens)

    @classmethod
    def joined(cls, requests: Sequence["Advance"]) -> list[tuple[Any, Counts]]:
        sizes = [len(request.tokens) for request in requests]
        parents = torch.cat([request.parents + request.state.begin for request in requests])  # type: ignore[attr-defined]
        with metering() as cost:
            state: SharedRows = requests[0].state  # type: ignore[assignment]
            whole = state.whole.advance(parents, torch.cat([request.tokens for request in requests]))
        return _shared_out(whole, sizes, cost)


@dataclass(frozen=True)
class SharedRows:
    """A search's rows of a state that several searches have in common.

    Attributes:
        whole: the state.
        begin: the first of the rows.
        count: how many they are.
    """

    whole: State
    begin: int
    count: int

    @property
    def log_probs(self) -> Tensor:
        """See `State`."""
        return self.whole.log_probs[self.begin : self.begin + self.count]

    def advance(self, parents: Tensor, tokens: Tensor) -> State:
        """See `State`; the new rows are in a state of their own."""
        return self.whole.advance(parents + self.begin, tokens)


def _shared_out(whole: State, sizes: Sequence[int], cost: Meter) -> list[tuple[Any, Counts]]:
    """Everyone's rows of a state, and their part of its cost; all rows cost the same."""
    found: list[tuple[Any, Counts]] = []
    begin = 0
    for size in sizes:
        found.append((SharedRows(whole, begin, size), Counts(meter=cost.part(size, sum(sizes)))))
        begin += size
    return found


@dataclass(frozen=True, eq=False)
class Announce(Request):
    """Says which texts the objective is about to read; the search then computes it by itself.

    Encoders read the texts of all searches in one go, and each search finds its own (see ReadAhead).
    """

    unit = "announced beam"
    problem: PromptProblem
    texts: Sequence[str]

    @property
    def company(self) -> Hashable:
        return self.problem.objective

    def alone(self) -> None:
        return None

    @classmethod
    def joined(cls, requests: Sequence["Announce"]) -> list[tuple[Any, Counts]]:
        texts = [text for request in requests for text in request.texts]
        try:
            for encoder in encoders(requests[0].problem.objective):
                if encoder.ahead is not None:
                    encoder.ahead.read(texts)
        except UsageError:  # that of one search; it will find out by itself
            pass
        return [(None, Counts()) for _ in requests]


def encoders(objective: MultiObjectiveLoss) -> list[TextEncoder]:
    """The text encoders of the terms that count, each once."""
    terms = [term for name, term in objective.terms.items() if objective.weights[name] > 0]
    found = (getattr(term, "encoder", None) for term in terms)
    return list(dict.fromkeys(encoder for encoder in found if isinstance(encoder, TextEncoder)))
