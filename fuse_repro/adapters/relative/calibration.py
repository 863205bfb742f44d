"""Choosing k, ridge, the anchors' frame and lengths without labels: how near do held-out anchors arrive?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.anchors import Anchors
from fuse_repro.adapters.relative.match import match_problem
from fuse_repro.adapters.relative.space import anchor_space, closed_form, encode
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import bar
from fuse_repro.storage import tensors as store

FORMAT = 4
KS = (512, 2048, 8192, None)
RIDGES = (0.01, 0.1, 1.0)
SHORTEST = 0.05  # a setting that arrives nowhere near would ask for no length at all
FRAMES = ((False, False), (True, False), (True, True))  # centre, whiten


@dataclass(frozen=True)
class CalibrationRow:
    """One setting and what it does to held-out anchors.

    Attributes:
        k: as in RelativeSettings; None is all anchors.
        ridge: as in RelativeSettings.
        centre: as in RelativeSettings.
        whiten: as in RelativeSettings.
        recall: share of held-out anchors whose own token is nearest to where they arrive, in [0, 1].
        cosine: mean cosine between where an anchor arrives and its own token, as `arrival` gives it.
        length: the multiple of their lengths at which they come closest to their own tokens, by least
            squares.
    """

    k: int | None
    ridge: float
    centre: bool
    whiten: bool
    recall: float
    cosine: float
    length: float


def arrival(arrived: Tensor, own: Tensor, others: Tensor) -> tuple[float, float]:
    """Recall@1 and mean cosine of held-out tokens [n, d] that should arrive at `own` [n, d].

    The cosine is taken as seen from the mean of `own` and `others`. From zero, all tokens lie in nearly one
    direction, and a map that only finds that direction would look good.

    Args:
        arrived: [n, d], where the held-out tokens arrive.
        own: [n, d], where they should.
        others: [K, d], further tokens that may be nearest.

    Returns:
        The share of tokens whose own token is the nearest of `own` and `others`, in [0, 1]; and the mean
        cosine to it.
    """
    tokens = torch.cat([own, others]).to(arrived)
    mean = tokens.mean(0)
    similarity = normalize(arrived - mean, dim=1) @ normalize(tokens - mean, dim=1).T
    right = torch.arange(len(own), device=similarity.device)
    recall = (similarity.argmax(1) == right).double().mean()
    return float(recall), float(similarity[right, right].mean())


def calibrate(
    sources: Sequence[FrozenModel],
    target: FrozenModel,
    anchors: Anchors,
    *,
    weights: Sequence[float] | None = None,
    holdout: int = 150,
    holdout_noise: float = 0.25,
    seed: int = 0,
) -> tuple[CalibrationRow, ...]:
    """Every setting of the grid KS x RIDGES x FRAMES, best cosine first, ties by recall.

    The cosine comes first since recall only asks which token is nearest: a setting can find nearly all tokens
    and still stay far from every one of them, where a language model reads something else.

    Some anchors are left out, and their source embeddings, with noise, are transferred by the closed form as
    if they were prompts. A source that is the target itself gets no noise: a vector off its words means the
    same in both. Uses no labels and neither prompts nor data of any task.

    Args:
        sources: the models whose prompts are to be moved.
        target: the model that they are moved to.
        anchors: of all these models, the target last.
        weights: of the sources in eq. 7; None is 1 for all.
        holdout: how many anchors are left out.
        holdout_noise: on their source embeddings, in standard deviations of the source's embedding values.
        seed: of which anchors are left out, and of the noise.

    Raises:
        UsageError: fewer than `holdout` anchors would remain.
    """
    total = len(anchors)
    require(
        2 * holdout <= total,
        "adapter.holdout",
        holdout,
        f"{total} anchors allow at most {total // 2}; set adapter.calibrate=false or take more anchors",
    )
    kept, held = anchors.hold_out(holdout, seed)
    pairs = _pairs([*sources, target], kept, held, _noises(sources, target, holdout_noise), seed)
    rows = []
    with bar("calibrating", len(FRAMES) * len(_ks(len(kept)))) as advance:
        for frame in FRAMES:
            for row in _measure(pairs, frame, _weights(weights, len(sources))):
                rows.append(row)
                if row.ridge == RIDGES[-1]:
                    advance(1)
    return tuple(sorted(rows, key=lambda row: (-row.cosine, -row.recall)))


def calibrated(
    sources: Sequence[FrozenModel],
    target: FrozenModel,
    anchors: Anchors,
    *,
    weights: Sequence[float] | None = None,
    holdout: int = 150,
    holdout_noise: float = 0.25,
    seed: int = 0,
    cache_dir: Path | None = None,
) -> tuple[CalibrationRow, ...]:
    """As `calibrate`; the table is kept in `cache_dir` under a key of everything that it depends on."""
    weighted = zip(sources, _weights(weights, len(sources)), strict=True)
    inputs = {
        "kind": "calibration",
        "format": FORMAT,
        "sources": [(model.fingerprint, weight) for model, weight in weighted],
        "target": target.fingerprint,
        "anchors": store.words_digest(anchors.words),
        "grid": [KS, RIDGES, FRAMES],
        "holdout": [holdout, _noises(sources, target, holdout_noise), seed],
    }

    def make() -> dict[str, Tensor]:
        rows = calibrate(
            sources,
            target,
            anchors,
            weights=weights,
            holdout=holdout,
            holdout_noise=holdout_noise,
            seed=seed,
        )
        return {"table": _tensor(rows)}

    expect = {"table": store.Expected((None, len(fields(CalibrationRow))), torch.float64)}
    return _rows(store.kept(cache_dir, inputs, expect, make)["table"])


def _pairs(
    models: Sequence[FrozenModel], kept: Anchors, held: Anchors, noises: Sequence[float], seed: int
) -> list[tuple[Tensor, Tensor]]:
    """(kept, held-out) embeddings per model, on the target's device; the sources' held-out ones have noise."""
    device = models[-1].device
    pairs = []
    embeddings = zip(kept.embeddings(models), held.embeddings(models), strict=True)
    for share, (known, prompt) in zip((*noises, 0.0), embeddings, strict=True):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(prompt.shape, generator=generator).to(prompt)
        pairs.append((known.to(device), (prompt + share * known.std() * noise).to(device)))
    return pairs


def _noises(sources: Sequence[FrozenModel], target: FrozenModel, noise: float) -> list[float]:
    """What every source's held-out anchors are moved by, in standard deviations of its embeddings."""
    return [0.0 if own.fingerprint == target.fingerprint else noise for own in sources]


def _measure(
    pairs: Sequence[tuple[Tensor, Tensor]], frame: tuple[bool, bool], weights: Sequence[float]
) -> Iterator[CalibrationRow]:
    """Measure every setting of the grid for one frame.

    Args:
        pairs: (kept, held-out) embeddings of every model, the target last.
        frame: (centre, whiten).
        weights: of the sources in eq. 7.

    Yields:
        One row per setting.
    """
    spaces = [anchor_space(known, *frame, torch.float32) for known, _ in pairs]
    names = [str(place) for place in range(len(pairs) - 1)]
    parts = zip(names, pairs, spaces, strict=False)
    references = {name: encode(prompt, space) for name, (_, prompt), space in parts}
    others, own = pairs[-1]
    relative = [
        weight * space.enter(prompt).norm(dim=1, keepdim=True) / space.length
        for weight, (_, prompt), space in zip(weights, pairs[:-1], spaces[:-1], strict=True)
    ]
    lengths = torch.stack(relative).sum(0) / sum(weights) * spaces[-1].length
    for k in _ks(len(others)):
        problem = match_problem(references, dict(zip(names, weights, strict=True)), spaces[-1], k)
        solved = closed_form(problem.summed, problem.mask, problem.space, RIDGES)
        for ridge, directions in zip(RIDGES, solved, strict=True):
            offsets = problem.space.leave(directions * lengths)
            arrived = offsets + problem.space.centre
            length = (offsets * (own - problem.space.centre)).sum() / offsets.square().sum()
            best = max(float(length), SHORTEST)
            yield CalibrationRow(k, ridge, *frame, *arrival(arrived, own, others), best)


def _ks(anchors: int) -> list[int | None]:
    return [k for k in KS if k is None or k < anchors]


def _weights(weights: Sequence[float] | None, sources: int) -> Sequence[float]:
    return (1.0,) * sources if weights is None else weights


def _tensor(rows: Sequence[CalibrationRow]) -> Tensor:
    """[rows, 7], float64; k of all anchors is -1."""
    return torch.tensor(
        [[-1 if v is None else float(v) for v in astuple(row)] for row in rows], dtype=torch.float64
    )


def _rows(table: Tensor) -> tuple[CalibrationRow, ...]:
    return tuple(
        CalibrationRow(None if k < 0 else int(k), ridge, bool(centre), bool(whiten), *figures)
        for k, ridge, centre, whiten, *figures in table.tolist()
    )
