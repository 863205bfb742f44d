"""The loss that both papers minimise: a weighted sum of named terms, one value per candidate (FUSE, eq. 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fuse_repro.errors import UsageError, require


@dataclass(frozen=True)
class LossValues:
    """What B candidates are worth; lower is better.

    Attributes:
        total: [B], the sum of the weighted terms.
        raw: name -> [B], each term as its model gives it (its unit is the term's).
        weighted: name -> [B], raw times weight.
    """

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]

    def at(self, places: Tensor) -> LossValues:
        """The values of the candidates at these places [n]."""
        raw, weighted = ({n: v[places] for n, v in column.items()} for column in (self.raw, self.weighted))
        return LossValues(self.total[places], raw, weighted)

    def row(self, index: int) -> dict[str, dict[str, float]]:
        """Every term of one candidate as plain numbers: name -> raw, weighted."""
        return {
            name: {"raw": float(self.raw[name][index]), "weighted": float(self.weighted[name][index])}
            for name in self.raw
        }

    def rows(self) -> list[dict[str, dict[str, float]]]:
        """As `row` for every candidate; values are read from the device once per term."""
        columns = {name: (self.raw[name].tolist(), self.weighted[name].tolist()) for name in self.raw}
        return [
            {name: {"raw": raw[i], "weighted": weighted[i]} for name, (raw, weighted) in columns.items()}
            for i in range(self.total.shape[0])
        ]


class MultiObjectiveLoss(nn.Module):
    """Sum over terms of weight * term(batch).

    Every term maps a batch of B candidates to [B]. Values are never averaged over candidates, since the
    search ranks them. The task decides what a batch is; the loss only passes it on.

    Args:
        terms: name -> term.
        weights: name -> weight, at least 0; 1 where none is given.

    Raises:
        UsageError: no terms, a negative or non-finite weight, or weights for unknown terms.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not terms:
            raise UsageError("an objective needs at least one term: choose one with objective=...")
        weights = dict(weights or {})
        unknown = sorted(set(weights) - set(terms))
        require(not unknown, "objective weights", unknown, f"the terms are {', '.join(terms)}")
        self.terms = nn.ModuleDict(terms)
        self.weights = {name: float(weights.get(name, 1.0)) for name in terms}
        for name, weight in self.weights.items():
            finite = 0 <= weight < float("inf")
            require(
                finite, f"objective.{name}.weight", weight, "a finite number of at least 0 (0 drops the term)"
            )

    def forward(self, batch: Any) -> LossValues:
        """Every term's value for every candidate of `batch`; a term of weight 0 is not computed."""
        used = [name for name, weight in self.weights.items() if weight > 0]
        raw = {name: _full(self.terms[name](batch)) for name in used}
        weighted = {name: self.weights[name] * values for name, values in raw.items()}
        total = torch.stack(list(weighted.values())).sum(0)
        return LossValues(total, raw, weighted)


def _full(values: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
