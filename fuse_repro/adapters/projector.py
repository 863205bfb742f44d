"""The neural projector baseline (PTfer, A.2, after Su et al. 2022)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, mse_loss

from fuse_repro.adapters.anchors import Anchors, AnchorSettings
from fuse_repro.adapters.base import EmbeddingMap, fit_values, pick
from fuse_repro.adapters.linear import pull_linear
from fuse_repro.adapters.prompt_checks import check_prompt
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import track
from fuse_repro.storage import tensors as store

FORMAT = 1
SLOPE = 0.01  # of the leaky ReLU below zero
STATE = ("w1", "b1", "w2", "b2", "slopes")


@dataclass(frozen=True)
class ProjectorSettings:
    """How the network is trained; see `ProjectorMap.fit`.

    Attributes:
        hidden: units between the two layers.
        lr: of Adam.
        batch_size: anchors per step.
        epochs: passes over the anchors.
        select: which epoch is kept, "held_out" or "last".
        holdout: anchors held out to choose the epoch.
        seed: of every random choice.
    """

    hidden: int
    lr: float
    batch_size: int
    epochs: int
    select: str
    holdout: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("hidden", "batch_size", "epochs", "holdout"):
            require(getattr(self, name) >= 1, f"adapter.{name}", getattr(self, name), "at least 1")
        require(self.lr > 0, "adapter.lr", self.lr, "above 0")
        require(self.select in ("held_out", "last"), "adapter.select", self.select, "held_out or last")


class ProjectorMap(EmbeddingMap):
    """v -> W2 f(W1 v + b1) + b2 with f the leaky ReLU (eq. 8); the state is in buffers.

    Attributes:
        w1: [h, d_s].
        b1: [h].
        w2: [d_t, h].
        b2: [d_t].
        slopes: [h], the mean slope of every hidden unit over the anchors, so that W2 diag(slopes) W1 is the
            mean of the Jacobians there.
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    slopes: Tensor

    def __init__(self, source: FrozenModel, target: FrozenModel, state: dict[str, Tensor]) -> None:
        super().__init__(source, target)
        for name in STATE:
            self.register_buffer(name, state[name].detach().to(source.device))

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
        hidden: int = 768,
        lr: float = 5e-3,
        batch_size: int = 16,
        epochs: int = 10,
        select: str = "held_out",
        holdout: int = 150,
        seed: int = 0,
    ) -> Self:
        """Train on shared anchors, or find the network in `cache_dir`; the defaults are the paper's (A.2).

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: not used: the anchors come from the vocabularies.
            cache_dir: see `EmbeddingMap.fit`.
            given: train on these anchors instead of choosing them.
            anchors: see `AnchorSettings`.
            anchor_selection: see `AnchorSettings`.
            exclude: see `AnchorSettings`.
            trained_only: see `AnchorSettings`.
            hidden: units between the two layers.
            lr: of Adam on the mean squared error (eq. 9).
            batch_size: anchors per step.
            epochs: passes over the anchors.
            select: which epoch is kept: "held_out" (the lowest error on `holdout` anchors that are not
                trained on; needs no labels) or "last". The paper takes the best on labelled dev data of the
                target.
            holdout: anchors held out for that.
            seed: of every random choice.

        Raises:
            UsageError: settings out of range, models that share too few words, and none left to train on.
        """
        settings = ProjectorSettings(hidden, lr, batch_size, epochs, select, holdout, seed)
        choice = AnchorSettings(anchors, anchor_selection, exclude, seed, trained_only)
        chosen = choice.choose([source, target], given)
        if select == "held_out" and len(chosen) <= holdout:
            raise UsageError(
                f"adapter.holdout={holdout} is not allowed: there are {len(chosen)} anchors, and some must "
                "be left to train on; lower it, or set adapter.select=last"
            )
        inputs = _inputs(source, target, chosen, settings)
        h, d_s, d_t = hidden, source.embedding_size, target.embedding_size
        shapes = dict(zip(STATE, ((h, d_s), (h,), (d_t, h), (d_t,), (h,)), strict=True))
        expect = {name: store.Expected(shape) for name, shape in shapes.items()}
        state = store.kept(cache_dir, inputs, expect, lambda: _train(source, target, chosen, settings))
        return cls(source, target, state)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        values = fit_values(cls.fit, settings)
        pick(AnchorSettings, values)
        pick(ProjectorSettings, values)

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t].

        Raises:
            UsageError: a prompt of another shape, or with NaN or infinite values.
        """
        check_prompt(prompt, self.source)
        weights = [self.get_buffer(name).to(prompt) for name in STATE[:4]]
        return _project(prompt, *weights)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s] through the mean Jacobian over the anchors.

        Where in the source space a word of the target lies is not known here, so one linearisation
        serves all words; see `pull_linear` for words of several tokens.
        """
        return pull_linear(gradient, alignment, self.jacobian)

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """See `EmbeddingMap.pull_tokens`; the coordinates are those of embeddings."""
        return pull_linear(gradient, alignment, self.jacobian, positions)

    @property
    def jacobian(self) -> Tensor:
        """The mean Jacobian over the anchors, as a map of row vectors: [d_s, d_t]."""
        return (self.w2 @ (self.slopes.unsqueeze(1) * self.w1)).T


def _inputs(
    source: FrozenModel, target: FrozenModel, anchors: Anchors, settings: ProjectorSettings
) -> dict[str, Any]:
    return {
        "kind": "projector",
        "format": FORMAT,
        "source": source.fingerprint,
        "target": target.fingerprint,
        "anchors": store.words_digest(anchors.words),
        "settings": asdict(settings),
    }


@torch.enable_grad()
def _train(
    source: FrozenModel, target: FrozenModel, anchors: Anchors, settings: ProjectorSettings
) -> dict[str, Tensor]:
    models = [source, target]
    rest, held = anchors.hold_out(settings.holdout if settings.select == "held_out" else 0, settings.seed)
    (x, y), (x_held, y_held) = (
        [side.to(source.device, torch.float32) for side in part.embeddings(models)] for part in (rest, held)
    )
    generator = torch.Generator().manual_seed(settings.seed)
    weights = _initial(x.shape[1], settings.hidden, y.shape[1], generator, x.device)
    optimizer = torch.optim.Adam(weights, lr=settings.lr, fused=True)
    best, chosen = float("inf"), weights
    for epoch in track(range(settings.epochs), "training the projector"):
        for batch in torch.randperm(len(x), generator=generator).split(settings.batch_size):
            optimizer.zero_grad()
            mse_loss(_project(x[batch], *weights), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            error = float(mse_loss(_project(x_held, *weights), y_held)) if len(held) else -float(epoch)
        if error < best:
            best, chosen = error, [weight.detach().clone() for weight in weights]
    return dict(zip(STATE, [*chosen, _slopes(x, chosen)], strict=True))


def _project(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Eq. 8 for rows: [n, d_s] -> [n, d_t]."""
    return leaky_relu(x @ w1.T + b1, SLOPE) @ w2.T + b2


def _slopes(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Mean slope of every hidden unit over the rows of `x`: [h]."""
    w1, b1 = (weight.detach() for weight in weights[:2])
    return torch.where(x @ w1.T + b1 > 0, 1.0, SLOPE).mean(0)


def _initial(
    d_s: int, hidden: int, d_t: int, generator: torch.Generator, device: torch.device
) -> list[Tensor]:
    """Both layers as torch initialises linear layers: uniform within 1 / sqrt(inputs)."""
    shapes = ((hidden, d_s), (hidden,), (d_t, hidden), (d_t,))
    bounds = [inputs**-0.5 for inputs in (d_s, d_s, hidden, hidden)]
    drawn = [
        (2 * torch.rand(shape, generator=generator) - 1) * bound
        for shape, bound in zip(shapes, bounds, strict=True)
    ]
    return [nn.Parameter(values.to(device)) for values in drawn]
