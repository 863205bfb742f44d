"""Choosing k, ridge, the anchors' frame and lengths without labels: how near do held-out anchors arrive?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.adapters.anchors import Anchors
from fuse_repro.adapters.relative.match import match_problem
from fuse_repro.adapters.relative.space import anchor_space, closed_form, encode
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import bar
from fuse_repro.storage import tensors as store

if TYPE_CHECKING:
    from fuse_repro.adapters.relative.config import RelativeConfig

FORMAT = 4
KS = (512, 2048, 8192, None)
RIDGES = (0.01, 0.1, 1.0)
SHORTEST = 0.05  # a setting that arrives nowhere near would ask for no length at all
FRAMES = ((False, False), (True, False), (True, True))  # centre, whiten


@dataclass(frozen=True)
class CalibrationRow:
    """One setting and what it does to held-out anchors.

    k, ridge, centre, whiten: as in RelativeConfig; k None is all anchors.
    recall: share of held-out anchors whose own token is nearest to where they arrive, in [0, 1].
    cosine: mean cosine between where an anchor arrives and its own token, as `arrival` gives it.
    length: the multiple of their lengths at which they come closest to their own tokens, by least squares.
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

    The nearest of `own` and `others` [K, d] counts, by the cosine as seen from their mean: from zero, all
    tokens lie in nearly one direction, and a map that only finds that direction would look good.
    """
    tokens = torch.cat([own, others]).to(arrived)
    mean = tokens.mean(0)
    similarity = normalize(arrived - mean, dim=1) @ normalize(tokens - mean, dim=1).T
    right = torch.arange(len(own), device=similarity.device)
    recall = (similarity.argmax(1) == right).double().mean()
    return float(recall), float(similarity[right, right].mean())


def calibrate(
    sources: Sequence[FrozenModel], target: FrozenModel, anchors: Anchors, config: RelativeConfig
) -> tuple[CalibrationRow, ...]:
    """Every setting of the grid KS x RIDGES x FRAMES, best cosine first, ties by recall.

    The cosine comes first since recall only asks which token is nearest: a setting can find nearly all tokens
    and still stay far from every one of them, where a language model reads something else.

    `config.holdout` anchors, drawn with `config.seed`, are left out; their source embeddings, with noise of
    `config.holdout_noise`, are transferred by the closed form as if they were prompts. A source that is the
    target itself gets no noise: what stands off its words there means the same here. Uses no labels and
    neither prompts nor data of any task.

    Raises UsageError where fewer than `holdout` anchors would remain.
    """
    total, count = len(anchors), config.holdout
    require(
        2 * count <= total,
        "adapter.holdout",
        count,
        f"{total} anchors allow at most {total // 2}; set adapter.calibrate=false or take more anchors",
    )
    kept, held = anchors.hold_out(count, config.seed)
    models = [*sources, target]
    pairs = _pairs(models, kept, held, config)
    rows = []
    with bar("calibrating", len(FRAMES) * len(_ks(len(kept)))) as advance:
        for frame in FRAMES:
            for row in _measure(pairs, frame, _weights(config, len(sources))):
                rows.append(row)
                if row.ridge == RIDGES[-1]:
                    advance(1)
    return tuple(sorted(rows, key=lambda row: (-row.cosine, -row.recall)))


def calibrated(
    sources: Sequence[FrozenModel],
    target: FrozenModel,
    anchors: Anchors,
    config: RelativeConfig,
    cache_dir: Path | None = None,
) -> tuple[CalibrationRow, ...]:
    """As `calibrate`; the table is kept in `cache_dir` under a key of everything that it depends on."""
    inputs = _inputs(sources, target, anchors, config)
    path = None if cache_dir is None else store.cache_path(cache_dir, inputs)
    if path is not None and path.exists():
        with contextlib.suppress(UsageError, KeyError):  # a damaged file is made again and replaced
            return _rows(store.load(path)[0]["table"])
    rows = calibrate(sources, target, anchors, config)
    if path is not None:
        store.save(path, {"table": _tensor(rows)}, inputs)
    return rows


def _pairs(
    models: Sequence[FrozenModel], kept: Anchors, held: Anchors, config: RelativeConfig
) -> list[tuple[Tensor, Tensor]]:
    """(kept, held-out) embeddings per model, on the target's device; the sources' held-out ones have noise."""
    device = models[-1].device
    pairs = []
    noises = (*_noises(models[:-1], models[-1], config), 0.0)
    embeddings = zip(kept.embeddings(models), held.embeddings(models), strict=True)
    for share, (known, prompt) in zip(noises, embeddings, strict=True):
        generator = torch.Generator().manual_seed(config.seed)
        noise = torch.randn(prompt.shape, generator=generator).to(prompt)
        pairs.append((known.to(device), (prompt + share * known.std() * noise).to(device)))
    return pairs


def _noises(sources: Sequence[FrozenModel], target: FrozenModel, config: RelativeConfig) -> list[float]:
    """What every source's held-out anchors are moved by, in standard deviations of its embeddings."""
    return [0.0 if own.fingerprint == target.fingerprint else config.holdout_noise for own in sources]


def _measure(
    pairs: Sequence[tuple[Tensor, Tensor]], frame: tuple[bool, bool], weights: Sequence[float]
) -> Iterator[CalibrationRow]:
    """The grid for one frame; `pairs` are (kept, held-out) embeddings per model, the target last."""
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


def _weights(config: RelativeConfig, sources: int) -> Sequence[float]:
    return (1.0,) * sources if config.weights is None else config.weights


def _inputs(
    sources: Sequence[FrozenModel], target: FrozenModel, anchors: Anchors, config: RelativeConfig
) -> dict[str, Any]:
    pairs = zip(sources, _weights(config, len(sources)), strict=True)
    return {
        "kind": "calibration",
        "format": FORMAT,
        "sources": [(model.fingerprint, weight) for model, weight in pairs],
        "target": target.fingerprint,
        "anchors": store.words_digest(anchors.words),
        "grid": [KS, RIDGES, FRAMES],
        "holdout": [config.holdout, _noises(sources, target, config), config.seed],
    }


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
