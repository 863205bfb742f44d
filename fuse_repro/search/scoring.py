"""First-order and zeroth-order predictions of a token's effect, joined into one."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

GROUPS = (False, True)  # tokens that start a word, tokens that join the last one


def standardise(values: Tensor) -> Tensor:
    """The values with mean 0 and standard deviation 1; all 0 where there is no spread."""
    offsets = values - values.mean()
    spread = offsets.std(correction=0)
    return offsets / spread if spread > 0 else torch.zeros_like(offsets)


def combine(
    linear: Mapping[bool, Tensor],
    zeroth: Tensor | None,
    joins: Tensor,
    weights: Sequence[float] = (1.0, 0.5),
    values: Mapping[bool, Tensor] | None = None,
    typical: Tensor | None = None,
) -> Tensor:
    """Predicted objective (lower is better) of a prompt with each of n tokens, up to monotone changes: [n].

    Args:
        linear: first-order changes [n] from points that start a word (False) and that join the last one
            (True). If one is missing, the other serves. If both are missing, the zeroth order decides alone.
        zeroth: [n], the estimate without gradients, or None.
        joins: [n], which tokens join the last word.
        weights: of the standardised zeroth order against the standardised first order, per kind of token.
        values: the objective at the points of either kind. With them every kind is brought to the objective's
            own scale; without them all tokens are standardised together.
        typical: [n], an estimate that spreads as the objective does. It serves kinds with one point, since a
            single value has no spread. Without it the zeroth order stands in, then the first order; all of
            them are weighted as the terms are.
    """
    groups = [(joins == kind, kind) for kind in GROUPS] if values is not None else [(joins | ~joins, False)]
    result = torch.zeros(len(joins), device=joins.device, dtype=torch.float32)
    for chosen, kind in groups:
        first = _either(linear, kind) if linear else None
        parts = []
        if first is not None:
            parts.append(standardise(first[chosen].float()))
        if zeroth is not None:
            parts.append((weights[kind] if linear else 1.0) * standardise(zeroth[chosen].float()))
        score = standardise(torch.stack(parts).sum(0))
        if values is not None:
            seen = _either(values, kind).float()
            stand_ins = (estimate for estimate in (typical, zeroth, first) if estimate is not None)
            spread_of = seen if len(seen) > 1 else next(stand_ins)[chosen].float()
            score = seen.mean() + score * spread_of.std(correction=0)
        result[chosen] = score
    return result


def _either(found: Mapping[bool, Tensor], kind: bool) -> Tensor:
    return found[kind] if kind in found else found[not kind]
