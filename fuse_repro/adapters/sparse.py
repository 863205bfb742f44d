"""Sparse transfer: every prompt row as a sum of few shared words, which the target has, too."""

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
from fuse_repro.adapters.relative.space import anchor_space
from fuse_repro.adapters.residuals import ResidualMap, kept_linear_part
from fuse_repro.algebra.matching_pursuit import matching_pursuit
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel


@dataclass(frozen=True)
class SparseSettings:
    """How a row is made of words; see `SparseMap.fit`.

    Attributes:
        atoms: words per row, at most.
        whiten: look for them where the words spread alike in all directions.
        non_negative: words may be added, and not taken away.
        remainder: what the words leave of a row goes through the ridge map; otherwise it is dropped.
    """

    atoms: int
    whiten: bool
    non_negative: bool
    remainder: bool

    def __post_init__(self) -> None:
        require(self.atoms >= 1, "adapter.atoms", self.atoms, "a whole number from 1 on")


class SparseMap(ResidualMap):
    """v = sum_i w_i x_i + rest  ->  sum_i w_i y_i + ridge(rest), with few words i (x, y seen from their means).

    The words and weights are those of orthogonal matching pursuit. A row that is a word arrives as that word.

    Attributes:
        directions: [K, d_s], the words in the frame in which they are looked for, as unit vectors, float32.
        lengths: [K], how long they are there, float64.
        inward: [d_s, d_s], into that frame, float64; None without whitening.
        settings: how a row is made of words.
    """

    directions: Tensor
    lengths: Tensor
    inward: Tensor | None

    def __init__(
        self,
        source: FrozenModel,
        target: FrozenModel,
        anchors: Anchors,
        linear: dict[str, Tensor],
        settings: SparseSettings,
    ) -> None:
        super().__init__(source, target, anchors, linear)
        self.settings = settings
        space = anchor_space(self.words, centre=False, whiten=settings.whiten)
        self.register_buffer("directions", space.directions.float())
        self.register_buffer("lengths", space.enter(self.words).norm(dim=1))
        self.register_buffer("inward", space.inward)

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
        atoms: int = 4,
        whiten: bool = True,
        non_negative: bool = False,
        remainder: bool = True,
        seed: int = 0,
    ) -> Self:
        """Fit on shared anchors, which takes seconds, or find the linear part in `cache_dir`.

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
            ridge: of the linear map for what the words leave, see `RidgeMap.fit`.
            atoms: see `SparseSettings`.
            whiten: see `SparseSettings`.
            non_negative: see `SparseSettings`.
            remainder: see `SparseSettings`.
            seed: of the choice of anchors.

        Raises:
            UsageError: settings out of range, and models that share too few words.
        """
        cls.check(ridge=ridge, atoms=atoms)
        choice = AnchorSettings(anchors, anchor_selection, exclude, seed, trained_only)
        chosen = choice.choose([source, target], given)
        linear = kept_linear_part(source, target, chosen, centre, ridge, cache_dir)
        return cls(source, target, chosen, linear, SparseSettings(atoms, whiten, non_negative, remainder))

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        values = fit_values(cls.fit, settings)
        pick(AnchorSettings, values)
        pick(SparseSettings, values)
        check_ridge(values["ridge"])

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The words of rows [m, d_s], seen from the words' mean: places [m, n] among the anchors, and weights."""
        framed = rows if self.inward is None else rows @ self.inward
        own = self.settings
        places, weights = matching_pursuit(framed, self.directions, own.atoms, own.non_negative)
        return places, weights / self.lengths[places].clamp(min=torch.finfo(torch.float64).tiny)

    def correction(self, rows: Tensor) -> Tensor:
        """See `ResidualMap.correction`."""
        places, weights = self.parts(rows)
        added = (weights.unsqueeze(1) @ self.residuals[places].double()).squeeze(1)
        if self.settings.remainder:
            return added
        rest = rows - (weights.unsqueeze(1) @ self.words[places].double()).squeeze(1)
        return added - rest @ self.weight.double()
