"""Affine maps fitted from anchors: ridge regression, orthogonal Procrustes; and what all linear maps share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fuse_repro.adapters.anchors import Anchors, AnchorSettings
from fuse_repro.adapters.base import EmbeddingMap, fit_values, pick
from fuse_repro.adapters.prompt_checks import check_prompt
from fuse_repro.adapters.spans import span_sums
from fuse_repro.algebra.least_squares import solve_gram
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel


class LinearMap(EmbeddingMap):
    """v -> (v - source_mean) W + target_mean, with W [d_s, d_t].

    Means of zero make it linear. The state is in buffers of float32.
    """

    weight: Tensor
    source_mean: Tensor
    target_mean: Tensor

    def __init__(
        self,
        source: FrozenModel,
        target: FrozenModel,
        weight: Tensor,
        source_mean: Tensor | None = None,
        target_mean: Tensor | None = None,
    ) -> None:
        super().__init__(source, target)
        state = {
            "weight": weight,
            "source_mean": weight.new_zeros(weight.shape[0]) if source_mean is None else source_mean,
            "target_mean": weight.new_zeros(weight.shape[1]) if target_mean is None else target_mean,
        }
        for name, value in state.items():
            self.register_buffer(name, value.to(source.device, torch.float32))

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t].

        Raises:
            UsageError: a prompt of another shape, or with NaN or infinite values.
        """
        check_prompt(prompt, self.source)
        mapped = (prompt - self.source_mean.to(prompt)) @ self.weight.to(prompt)
        return mapped + self.target_mean.to(prompt)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s]; see `pull_linear`."""
        return pull_linear(gradient, alignment, self.weight)

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are those of embeddings."""
        return pull_linear(gradient, alignment, self.weight, positions)


def pull_linear(
    gradient: Tensor, alignment: Alignment, weight: Tensor | None, positions: Sequence[int] | None = None
) -> Tensor:
    """The pullback of a map for single vectors, W [d_s, d_t], to words of any number of tokens.

    A word of s source tokens is taken as their mean, and every one of its target tokens as the image of that
    mean: E_t[b] = mean_a(E_s[a]) W, hence G_s[a] = sum_b G_t[b] W^T / s. For words of one token on both
    sides, as anchors are, this is the map itself.

    Args:
        gradient: by the target's embeddings, [B, S_t, d_t].
        alignment: of the B texts.
        weight: W, [d_s, d_t]; None for the identity.
        positions: of the n source tokens that are asked for; None for all.

    Returns:
        The gradient by their embeddings, [B, n, d_s].
    """
    asked = range(alignment.source_length) if positions is None else positions
    column = {position: place for place, position in enumerate(asked)}
    words = alignment.words_of(asked)
    places = [
        (word.row * len(column) + column[token], number)
        for number, word in enumerate(words)
        for token in range(word.source_start, word.source_stop)
        if token in column
    ]
    size = gradient.shape[2] if weight is None else weight.shape[0]
    result = gradient.new_zeros(alignment.rows * len(column), size)
    if places:
        sums = span_sums(gradient, [(word.row, word.target_start, word.target_stop) for word in words])
        counts = gradient.new_tensor([word.source_count for word in words])
        means = sums / counts.unsqueeze(1)
        pulled = means if weight is None else means @ weight.to(gradient).T
        where, numbers = torch.tensor(places, device=gradient.device).T
        result = result.index_copy(0, where, pulled[numbers])  # no token is in two words
    return result.view(alignment.rows, len(column), -1)


def ridge_part(
    source: FrozenModel, target: FrozenModel, anchors: Anchors, centre: bool, ridge: float
) -> dict[str, Tensor]:
    """Least squares of the anchors: weight [d_s, d_t], source_mean [d_s], target_mean [d_t], float32."""
    x, y, means = centred(source, target, anchors, centre)
    weight = solve_gram(x.T @ x, x.T @ y, ridge)
    state = {"weight": weight, "source_mean": means[0], "target_mean": means[1]}
    return {name: value.float() for name, value in state.items()}


def check_ridge(ridge: float) -> None:
    """Raises UsageError for a negative penalty."""
    require(ridge >= 0, "adapter.ridge", ridge, "0 (pseudoinverse) or more")


class RidgeMap(LinearMap):
    """Least squares from the anchors' source to their target embeddings."""

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
        trained_only: bool = False,
        centre: bool = True,
        ridge: float = 0.01,
        seed: int = 0,
    ) -> Self:
        """Fit on shared anchors, which takes seconds; nothing is kept in `cache_dir`.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: not used: the anchors come from the vocabularies.
            cache_dir: not used.
            given: fit on these anchors instead of choosing them.
            anchors: see `AnchorSettings`.
            anchor_selection: see `AnchorSettings`.
            exclude: see `AnchorSettings`.
            trained_only: see `AnchorSettings`.
            centre: subtract each side's mean before the fit, and add the target's back.
            ridge: relative to the mean diagonal of X^T X; 0 is the pseudoinverse (FUSE's map for words of one
                token, fitted on anchors).
            seed: of the choice of anchors.

        Raises:
            UsageError: settings out of range, and models that share too few words.
        """
        cls.check(ridge=ridge)
        settings = AnchorSettings(anchors, anchor_selection, exclude, seed, trained_only)
        chosen = settings.choose([source, target], given)
        return cls(source, target, **ridge_part(source, target, chosen, centre, ridge))

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        values = fit_values(cls.fit, settings)
        pick(AnchorSettings, values)
        check_ridge(values["ridge"])


class ProcrustesMap(LinearMap):
    """The orthogonal map that brings the anchors' source embeddings closest to their target embeddings.

    Schönemann (1966): with X^T Y = U S V^T, the map is U V^T. Between unequal sizes it is the matching
    semi-orthogonal one, of rank min(d_s, d_t).
    """

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
        trained_only: bool = False,
        centre: bool = True,
        scale: bool = True,
        seed: int = 0,
    ) -> Self:
        """Fit on shared anchors, which takes seconds; nothing is kept in `cache_dir`.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: not used: the anchors come from the vocabularies.
            cache_dir: not used.
            given: fit on these anchors instead of choosing them.
            anchors: see `AnchorSettings`.
            anchor_selection: see `AnchorSettings`.
            exclude: see `AnchorSettings`.
            trained_only: see `AnchorSettings`.
            centre: subtract each side's mean before the fit, and add the target's back.
            scale: multiply by the factor that fits the target's lengths best; otherwise lengths are kept.
            seed: of the choice of anchors.

        Raises:
            UsageError: settings out of range, and models that share too few words.
        """
        settings = AnchorSettings(anchors, anchor_selection, exclude, seed, trained_only)
        chosen = settings.choose([source, target], given)
        x, y, means = centred(source, target, chosen, centre)
        u, singular, v = torch.linalg.svd(x.T @ y, full_matrices=False)
        weight = u @ v
        if scale:
            weight = weight * (singular.sum() / (x @ weight).square().sum())
        return cls(source, target, weight, *means)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        pick(AnchorSettings, fit_values(cls.fit, settings))


def centred(
    source: FrozenModel, target: FrozenModel, anchors: Anchors, centre: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The anchors' embeddings on both sides without their means, in float64, and the means (or zeros)."""
    sides = [side.double() for side in anchors.embeddings([source, target])]
    means = [side.mean(0) if centre else side.new_zeros(side.shape[1]) for side in sides]
    x, y = (side - mean for side, mean in zip(sides, means, strict=True))
    return x, y, (means[0], means[1])
