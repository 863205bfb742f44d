"""Ridge with a local correction: near words a prompt row arrives where they do, far from all as ridge sends it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fuse_repro.adapters.anchors import Anchors, AnchorSettings
from fuse_repro.adapters.base import fit_values, pick
from fuse_repro.adapters.linear import check_ridge
from fuse_repro.adapters.residuals import ResidualMap, kept_linear_part, key_of
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.storage import tensors as store

TOGETHER = 16  # rows whose neighbours are looked at together
SAMPLE = 512  # words whose distances to their neighbours give the unit of length
JITTER = 1e-8  # keeps two words at one place apart where there is no noise


@dataclass(frozen=True)
class LocalSettings:
    """How far a word's residual reaches; see `LocalMap.fit`.

    Attributes:
        width: of the Gaussian kernel, in median distances between neighbouring words.
        noise: s^2 of the residuals, relative to the kernel's height of 1; 0 is exact at words.
        noise_growth: what s^2 grows by, times the squared distance to the nearest word in the same unit.
        neighbours: nearest words that count.
    """

    width: float
    noise: float
    noise_growth: float
    neighbours: int

    def __post_init__(self) -> None:
        require(self.width > 0, "adapter.width", self.width, "above 0")
        require(self.noise >= 0, "adapter.noise", self.noise, "0 (exact at words) or more")
        require(
            self.noise_growth >= 0, "adapter.noise_growth", self.noise_growth, "0 (the same noise) or more"
        )
        require(self.neighbours >= 1, "adapter.neighbours", self.neighbours, "a whole number from 1 on")


class LocalMap(ResidualMap):
    """f(v) = ridge(v) + k(v, N) (K_NN + s^2 I)^-1 R_N: Gaussian process regression of the residuals R.

    N are the nearest words, and k a Gaussian kernel.

    Attributes:
        settings: how far a residual reaches.
        unit: the median distance between neighbouring words of the source.
    """

    def __init__(
        self,
        source: FrozenModel,
        target: FrozenModel,
        anchors: Anchors,
        linear: dict[str, Tensor],
        settings: LocalSettings,
        unit: float,
    ) -> None:
        super().__init__(source, target, anchors, linear)
        self.settings, self.unit = settings, unit

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
        given: Anchors | None = None,
        anchors: int | None = None,
        anchor_selection: str = "all",
        exclude: Collection[str] = (),
        trained_only: bool = True,
        centre: bool = True,
        ridge: float = 0.01,
        width: float = 0.5,
        noise: float = 0.01,
        noise_growth: float = 0.0,
        neighbours: int = 256,
        seed: int = 0,
    ) -> Self:
        """Fit on shared anchors, which takes seconds, or find the fit in `cache_dir`.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: not used: the anchors come from the vocabularies.
            cache_dir: see `EmbeddingMap.fit`.
            given: fit on these anchors instead of choosing them.
            anchors: see `AnchorSettings`.
            anchor_selection: see `AnchorSettings`.
            exclude: see `AnchorSettings`.
            trained_only: see `AnchorSettings`.
            centre: see rows and words from the words' mean on each side.
            ridge: of the linear part, see `RidgeMap.fit`.
            width: see `LocalSettings`.
            noise: see `LocalSettings`.
            noise_growth: see `LocalSettings`.
            neighbours: see `LocalSettings`.
            seed: of the choice of anchors.

        Raises:
            UsageError: settings out of range, and models that share too few words.
        """
        settings = LocalSettings(width, noise, noise_growth, neighbours)
        cls.check(ridge=ridge)
        choice = AnchorSettings(anchors, anchor_selection, exclude, seed, trained_only)
        chosen = choice.choose([source, target], given)
        if len(chosen) < 2:
            raise UsageError(
                f"{source.name} and {target.name} share {len(chosen)} anchor, and a local correction needs "
                "neighbours: take more anchors, or adapter=ridge"
            )
        linear = kept_linear_part(source, target, chosen, centre, ridge, cache_dir)
        inputs = key_of("neighbours", source, target, chosen)
        expect = {"unit": store.Expected((1,), torch.float64)}
        found = store.kept(cache_dir, inputs, expect, lambda: {"unit": _unit(source, chosen)})
        return cls(source, target, chosen, linear, settings, float(found["unit"]))

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        values = fit_values(cls.fit, settings)
        pick(AnchorSettings, values)
        pick(LocalSettings, values)
        check_ridge(values["ridge"])

    def correction(self, rows: Tensor) -> Tensor:
        """See `ResidualMap.correction`."""
        return torch.cat([self._correction(some) for some in rows.split(TOGETHER)])

    def _correction(self, rows: Tensor) -> Tensor:
        """[m, d_s] -> [m, d_t] for a few rows; with n neighbours, [m, n, n] numbers are held."""
        own = self.settings
        rough = torch.cdist(rows.float(), self.words)
        near = rough.topk(min(own.neighbours, len(self.words)), dim=1, largest=False).indices
        offsets = (self.words[near].double() - rows.unsqueeze(1)) / self.unit  # [m, n, d_s]
        products = offsets @ offsets.mT
        squares = products.diagonal(dim1=1, dim2=2)  # to the row itself, [m, n]
        apart = squares.unsqueeze(1) + squares.unsqueeze(2) - 2 * products
        kernel = (-0.5 * apart.clamp(min=0) / own.width**2).exp()
        noise = own.noise + own.noise_growth * squares.amin(1) + JITTER
        kernel = kernel + torch.diag_embed(noise.unsqueeze(1).expand_as(squares))
        reach = (-0.5 * squares / own.width**2).exp()
        shares = torch.cholesky_solve(reach.unsqueeze(2), torch.linalg.cholesky(kernel))
        return (shares.mT @ self.residuals[near].double()).squeeze(1)


def _unit(source: FrozenModel, anchors: Anchors) -> Tensor:
    """The median distance of a word to its nearest neighbour, [1], float64; of an even sample of the words."""
    with torch.no_grad():
        words = source.embed(anchors.source_ids.to(source.device)).float()
    places = torch.linspace(0, len(words) - 1, min(SAMPLE, len(words))).round().long().to(words.device)
    distances = torch.cdist(words[places], words)
    nearest = distances.scatter(1, places.unsqueeze(1), float("inf")).amin(1)  # not itself
    apart = nearest[nearest > 0]  # words at one place are neighbours of no distance
    return (apart.median() if len(apart) else nearest.new_ones(())).double().reshape(1).cpu()
