"""How near words arrive that a map was not fitted on: a criterion that needs no data at all."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.auto.choice import WORDS, Choice, Judged
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.relative.calibration import arrival
from fuse_repro.errors import UsageError, first_line
from fuse_repro.models.base import FrozenModel

LEAST = 5  # held-out words
NO_ANCHORS = "it is not fitted on shared words, so none can be held out"
AnyFit = Callable[..., EmbeddingMap]


def takes_anchors(fit: AnyFit) -> bool:
    """Whether a fit can be told which shared words to use, and so which not."""
    return "given" in signature(fit).parameters


@torch.no_grad()
def choose_by_words(
    fits: Mapping[str, AnyFit],
    source: FrozenModel,
    target: FrozenModel,
    words: Sequence[str],
    *,
    cache_dir: Path | None,
    given: Anchors | None,
    holdout: int,
    noise: float,
    seed: int,
) -> Choice:
    """Fit every candidate without some shared words, move these as if they were prompts, and see how near they come.

    The mean cosine to their own tokens comes first, then the share of words whose own token is the nearest;
    see `arrival`.

    Args:
        fits: name -> fit of the candidate.
        source: see `EmbeddingMap.fit`.
        target: see `EmbeddingMap.fit`.
        words: see `EmbeddingMap.fit`.
        cache_dir: see `EmbeddingMap.fit`.
        given: the shared words, where they are not simply all.
        holdout: words held out, at most a quarter of all.
        noise: what they are moved by before, in standard deviations of the embeddings; none where the source is
            the target itself.
        seed: of which words are held out, and of the noise.

    Raises:
        UsageError: too few shared words, and where no candidate can be judged.
    """
    anchors = shared_anchors([source, target]) if given is None else given
    held_out = min(holdout, len(anchors) // 4)
    if held_out < LEAST:
        raise UsageError(
            f"adapter=auto has nothing to choose by: {source.name} and {target.name} share {len(anchors)} words, too "
            "few to hold some out; give development items of the source (dataset=...), or name a map, as adapter=ridge"
        )
    kept, held = anchors.hold_out(held_out, seed)
    others = kept.embeddings([source, target])
    prompts, own = held.embeddings([source, target])
    share = 0.0 if source.fingerprint == target.fingerprint else noise
    drawn = torch.randn(prompts.shape, generator=torch.Generator().manual_seed(seed)).to(prompts)
    moving: dict[str, Any] = {
        "prompts": prompts + share * others[0].std() * drawn,
        "own": own,
        "others": others[1],
    }
    judged = []
    for name, fit in fits.items():
        if not takes_anchors(fit):
            judged.append(Judged(name, {}, error=NO_ANCHORS))
            continue
        try:
            fitted = fit(source, target, words, cache_dir=cache_dir, given=kept)
            judged.append(_judged(name, fitted, **moving))
        except UsageError as error:
            judged.append(Judged(name, {}, error=first_line(error)))
    return Choice.among(WORDS, judged)


def _judged(name: str, fitted: EmbeddingMap, prompts: Tensor, own: Tensor, others: Tensor) -> Judged:
    recall, cosine = arrival(fitted.transfer(prompts).float(), own.float(), others.float())
    return Judged(name, {"cosine": cosine, "recall": recall}, (cosine, recall))
