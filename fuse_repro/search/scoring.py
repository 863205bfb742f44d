"""First-order and zeroth-order predictions of a token's effect, joined into one."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

GROUPS = (False, True)  # tokens that start a word, tokens that join the last one


def by_kind(joins: Tensor) -> dict[bool, Tensor]:
    """The places of the tokens that start a word, and of those that join the last one, where there are any.

    Args:
        joins: [n] bool, which tokens join the last word.
    """
    places = {kind: (joins == kind).nonzero().squeeze(1) for kind in GROUPS}
    return {kind: found for kind, found in places.items() if len(found)}


def standardise(values: Tensor) -> Tensor:
    """The values [*, n] with mean 0 and standard deviation 1 in every row; all 0 where there is no spread."""
    offsets = values - values.mean(-1, keepdim=True)
    spread = offsets.square().mean(-1, keepdim=True).sqrt()  # `std` takes ten times as long on a CPU
    return torch.where(spread > 0, offsets / spread, 0.0)


def combine(
    linear: Mapping[bool, Tensor],
    zeroth: Tensor | None,
    kinds: Mapping[bool, Tensor],
    weights: Sequence[float] = (1.0, 0.5),
    values: Mapping[bool, Tensor] | None = None,
    typical: Tensor | None = None,
) -> Tensor:
    """Predicted objective (lower is better) of prompts with each of n tokens, up to monotone changes: [*, n].

    Every row is a prompt by itself.

    Args:
        linear: first-order changes [*, n] from points that start a word (False) and that join the last one
            (True). If one is missing, the other serves. If both are missing, the zeroth order decides alone.
        zeroth: [*, n], the estimate without gradients, or None.
        kinds: the places of the tokens of each kind; see `by_kind`.
        weights: of the standardised zeroth order against the standardised first order, per kind of token.
        values: the objective [*, r] at the points of either kind. With them every kind is brought to the
            objective's own scale; without them all tokens are standardised together.
        typical: [*, n], an estimate that spreads as the objective does. It serves kinds with one point, since
            a single value has no spread. Without it the zeroth order stands in, then the first order; all of
            them are weighted as the terms are.
    """
    if values is None:
        return _joined(_either(linear, False), zeroth, weights[False])
    result: Tensor | None = None
    for kind, places in kinds.items():
        estimates = (_either(linear, kind), zeroth, typical)
        first, other, stand_in = (
            None if e is None else e.float().index_select(-1, places) for e in estimates
        )
        score = _joined(first, other, weights[kind])
        seen = _either(values, kind)
        assert seen is not None
        spread_of = (
            next(e for e in (stand_in, other, first) if e is not None) if seen.shape[-1] == 1 else seen
        )
        spread = spread_of.float().std(-1, correction=0, keepdim=True)
        score = seen.float().mean(-1, keepdim=True) + score * spread
        if result is None:
            size = sum(len(own) for own in kinds.values())
            result = torch.empty(*score.shape[:-1], size, device=score.device, dtype=torch.float32)
        result = result.index_copy(-1, places, score)
    assert result is not None
    return result


def _joined(first: Tensor | None, zeroth: Tensor | None, weight: float) -> Tensor:
    """First order and `weight` times zeroth order, each standardised, or the one that there is."""
    if first is None:
        assert zeroth is not None
        return standardise(standardise(zeroth.float()))
    score = standardise(first.float())
    return standardise(score if zeroth is None else score + weight * standardise(zeroth.float()))


def _either(found: Mapping[bool, Tensor], kind: bool) -> Tensor | None:
    """What belongs to this kind of token, else to the other one."""
    return found.get(kind, found.get(not kind))
