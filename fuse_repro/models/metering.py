"""What frozen models compute, counted while they do: tokens that they read, and floating-point operations.

A forward pass multiplies every token with the model's matrices, every pair of tokens in attention, and every output
with the head. The counts are exact integers of shapes alone, so that the same work gives the same numbers on every
device. What is small is left out: norms, activations, pooled outputs, images.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

_meters: list["Meter"] = []


@dataclass(frozen=True)
class Arithmetic:
    """Multiply-adds of a model's forward pass.

    Attributes:
        per_token: with the matrices below the head, for every token.
        per_pair: of attention, for every token and every token that it looks at.
        per_output: of the head, for every position at which it is computed.
    """

    per_token: int
    per_pair: int = 0
    per_output: int = 0

    def operations(self, tokens: int = 0, pairs: int = 0, outputs: int = 0, back: bool = False) -> int:
        """Floating-point operations, a multiply-add counting as two.

        Weights are frozen: a backward pass costs as much as the forward pass, but twice as much in attention, where
        both sides of a product have gradients.

        Args:
            tokens: how many.
            pairs: of tokens, summed over texts.
            outputs: of the head.
            back: with the backward pass.
        """
        fixed = tokens * self.per_token + outputs * self.per_output
        attention = pairs * self.per_pair
        return 2 * (fixed + attention + back * (fixed + 2 * attention))


@dataclass
class Meter:
    """What models computed while it was on.

    Attributes:
        flops: floating-point operations of forward and backward passes.
        tokens: model -> tokens that went through it, special tokens and padding included.
        seconds: how long the meter was on, once it is off.
    """

    flops: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def cost(self) -> dict[str, Any]:
        """For a record: what the same work costs every time, without the seconds."""
        return {"flops": self.flops, "tokens": dict(sorted(self.tokens.items()))}

    def add(self, other: "Meter") -> None:
        """Count as well what another meter counted."""
        self.flops += other.flops
        for name, tokens in other.tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + tokens

    def part(self, rows: int, of: int) -> "Meter":
        """What so many of the rows cost, where all rows cost the same."""
        tokens = {name: count * rows // of for name, count in self.tokens.items()}
        return Meter(self.flops * rows // of, tokens)


@contextmanager
def metering(meter: Meter | None = None) -> Iterator[Meter]:
    """Counts what all frozen models compute inside the `with` block; meters may be nested.

    Args:
        meter: one that goes on counting; None for a new one.
    """
    meter = Meter() if meter is None else meter
    _meters.append(meter)
    begun = time.perf_counter()
    try:
        yield meter
    finally:
        meter.seconds += time.perf_counter() - begun
        _meters[:] = [other for other in _meters if other is not meter]


def charge(cost: Meter) -> None:
    """Count this on every meter that is on: for work that was done before, unmetered, together with other work."""
    for meter in _meters:
        meter.add(cost)


@contextmanager
def unmetered() -> Iterator[None]:
    """Within, nothing is counted: for work that is done once and kept, and so belongs to no item.

    Also for work that is done for several items at once, of which each is charged with its own share.
    """
    paused = list(_meters)
    _meters.clear()
    try:
        yield
    finally:
        _meters[:] = paused


def summed(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """For results.json: the costs of these records together.

    `records` says how many of them have one; records of earlier versions do not. Empty where none has.
    """
    costs = [record["cost"] for record in records if record.get("cost")]
    if not costs:
        return {}
    tokens: Counter[str] = Counter()
    for cost in costs:
        tokens.update(cost["tokens"])
    flops = sum(cost["flops"] for cost in costs)
    return {"cost": {"flops": flops, "tokens": dict(sorted(tokens.items())), "records": len(costs)}}


class Watch:
    """The hooks of one model: they tell the meters of every forward pass that has ended.

    Args:
        name: of the model.
        body: the transformer below the head, which is given tokens [B, S] or embeddings [B, S, d].
        whole: all of the model; matrices beside the body are its head's.
        head: the layer that makes the outputs, where there is one.
        config: of the transformer.
    """

    def __init__(
        self, name: str, body: nn.Module, whole: nn.Module, head: nn.Module | None, config: Any
    ) -> None:
        self.name = name
        self._parts = (body, whole, config)
        self._known: Arithmetic | None = None
        earlier = getattr(body, "_watched", None)
        if earlier is not None:  # a model of ours that shares the transformer
            earlier.remove()
        self._handles = [body.register_forward_hook(self._body, with_kwargs=True)]
        if head is not None:
            self._handles.append(head.register_forward_hook(self._head))
        body.__dict__["_watched"] = self

    @staticmethod
    def of(body: nn.Module) -> "Watch":
        """The hooks that are on a transformer, which several models of ours may share."""
        watch: Watch = body.__dict__["_watched"]
        return watch

    @property
    def arithmetic(self) -> Arithmetic:
        """Multiply-adds of the model, counted from its matrices once."""
        if self._known is None:
            self._known = arithmetic_of(*self._parts)
        return self._known

    def pass_of(self, rows: int, tokens: int, back: bool = False) -> Meter:
        """What a forward pass of so many texts of so many tokens costs below the head, or one there and back."""
        counted = {"tokens": rows * tokens, "pairs": rows * tokens * tokens}
        return Meter(self.arithmetic.operations(**counted, back=back), {self.name: rows * tokens})

    def remove(self) -> None:
        """Count no more."""
        for handle in self._handles:
            handle.remove()

    def _body(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        if not _meters:
            return
        given = [keywords.get("inputs_embeds"), keywords.get("input_ids"), *arguments]
        read = next(value for value in given if isinstance(value, Tensor))
        rows, tokens = read.shape[:2]
        memory = keywords.get("past_key_values")
        seen = tokens if memory is None else int(memory.get_seq_length())
        counted = {"tokens": rows * tokens, "pairs": rows * tokens * seen}
        self._note(rows * tokens, self.arithmetic.operations(**counted, back=_goes_back(read)))

    def _head(self, module: Any, arguments: tuple[Any, ...], output: Any) -> None:
        if _meters:
            states = arguments[0]
            outputs = states[..., 0].numel()
            self._note(0, self.arithmetic.operations(outputs=outputs, back=_goes_back(states)))

    def _note(self, tokens: int, flops: int) -> None:
        for meter in _meters:
            meter.flops += flops
            meter.tokens[self.name] = meter.tokens.get(self.name, 0) + tokens


def arithmetic_of(body: nn.Module, whole: nn.Module, config: Any) -> Arithmetic:
    """Multiply-adds of a transformer, from the sizes of its matrices.

    Args:
        body: the transformer.
        whole: the model that it belongs to.
        config: of the transformer.
    """
    own = dict(_matrices(body))
    inside = set(map(id, body.modules()))
    pooled = [size for name, size in own.items() if "pooler" in name.split(".")]
    groups = int(getattr(config, "num_hidden_groups", 0))  # ALBERT: a group's layers share their matrices
    layers = int(getattr(config, "num_hidden_layers", 0))
    shared = sum(size for name, size in own.items() if "albert_layer_groups" in name.split("."))
    repeated = shared * (layers // groups - 1) if groups else 0
    heads = int(getattr(config, "num_attention_heads", 0))
    width = heads * int(getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0))
    outside = sum(size for module, size in _sized(whole) if id(module) not in inside)
    return Arithmetic(sum(own.values()) - sum(pooled) + repeated, 2 * layers * width, outside)


def _matrices(module: nn.Module) -> Iterator[tuple[str, int]]:
    for name, part in module.named_modules():
        if size := _size(part):
            yield name, size


def _sized(module: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    for part in module.modules():
        if size := _size(part):
            yield part, size


def _size(module: nn.Module) -> int:
    """Numbers in the matrix of a linear layer; 0 for anything else. GPT-2 has its own kind of linear layer."""
    linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    return int(module.weight.numel()) if linear else 0  # type: ignore[operator]


def _goes_back(states: Tensor) -> bool:
    """Whether a backward pass will come through here."""
    return bool(states.requires_grad)
