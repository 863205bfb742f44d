"""The neural projector baseline (PTfer, A.2, after Su et al. 2022)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, mse_loss

from fuse_repro.adapters.anchors import Anchors, AnchorSettings
from fuse_repro.adapters.base import EmbeddingMap
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


class ProjectorMap(EmbeddingMap):
    """v -> W2 f(W1 v + b1) + b2 with f the leaky ReLU (eq. 8); the state is in buffers.

    w1: [h, d_s]; b1: [h]; w2: [d_t, h]; b2: [d_t]; slopes: [h], the mean slope of every hidden unit over the
    anchors, so that W2 diag(slopes) W1 is the mean of the Jacobians there.
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

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t]. Raises UsageError for a prompt of another shape, or with NaN."""
        check_prompt(prompt, self.source)
        weights = [self.get_buffer(name).to(prompt) for name in STATE[:4]]
        return _project(prompt, *weights)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s] through the mean Jacobian over the anchors.

        Where in the source space a word of the target lies is not known here, so the linearisation is one
        for all; see `pull_linear` for words of several tokens.
        """
        return pull_linear(gradient, alignment, self.jacobian)

    @property
    def jacobian(self) -> Tensor:
        """The mean Jacobian over the anchors, as a map of row vectors: [d_s, d_t]."""
        return (self.w2 @ (self.slopes.unsqueeze(1) * self.w1)).T


@dataclass(frozen=True)
class ProjectorConfig(AnchorSettings):
    """Settings of a ProjectorMap; the defaults are the paper's (A.2).

    hidden, lr, batch_size, epochs: of the network and of Adam on the mean squared error (eq. 9).
    select: which epoch is kept: "held_out" (the lowest error on `holdout` anchors that are not trained on;
        needs no labels) or "last". The paper takes the best on labelled dev data of the target.
    """

    hidden: int = 768
    lr: float = 5e-3
    batch_size: int = 16
    epochs: int = 10
    select: str = "held_out"
    holdout: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "batch_size", "epochs", "holdout"):
            require(getattr(self, name) >= 1, f"adapter.{name}", getattr(self, name), "at least 1")
        require(self.lr > 0, "adapter.lr", self.lr, "above 0")
        require(self.select in ("held_out", "last"), "adapter.select", self.select, "held_out or last")

    def fit(
        self, source: FrozenModel, target: FrozenModel, words: Sequence[str], cache_dir: Path | None = None
    ) -> ProjectorMap:
        """Train on the shared anchors, or find it in `cache_dir`; `words` is there for the interface."""
        return self.fit_anchors(source, target, self.choose([source, target]), cache_dir)

    def fit_anchors(
        self, source: FrozenModel, target: FrozenModel, anchors: Anchors, cache_dir: Path | None = None
    ) -> ProjectorMap:
        """Train on these anchors. Raises UsageError where none would be left to train on."""
        if self.select == "held_out" and len(anchors) <= self.holdout:
            raise UsageError(
                f"adapter.holdout={self.holdout} is not allowed: there are {len(anchors)} anchors, and some must "
                "be left to train on; lower it, or set adapter.select=last"
            )
        inputs = self._inputs(source, target, anchors)
        path = None if cache_dir is None else store.cache_path(cache_dir, inputs)
        if path is not None and path.exists():
            with contextlib.suppress(UsageError, KeyError):  # a damaged file is made again and replaced
                return ProjectorMap(source, target, store.load(path)[0])
        state = self._train(source, target, anchors)
        if path is not None:
            store.save(path, state, inputs)
        return ProjectorMap(source, target, state)

    def _inputs(self, source: FrozenModel, target: FrozenModel, anchors: Anchors) -> dict[str, Any]:
        settings = asdict(self)
        for name in ("anchors", "anchor_selection", "exclude"):  # what they choose is in the words
            del settings[name]
        return {
            "kind": "projector",
            "format": FORMAT,
            "source": source.fingerprint,
            "target": target.fingerprint,
            "anchors": store.words_digest(anchors.words),
            "settings": settings,
        }

    @torch.enable_grad()
    def _train(self, source: FrozenModel, target: FrozenModel, anchors: Anchors) -> dict[str, Tensor]:
        models = [source, target]
        rest, held = anchors.hold_out(self.holdout if self.select == "held_out" else 0, self.seed)
        (x, y), (x_held, y_held) = (
            [side.to(source.device, torch.float32) for side in part.embeddings(models)]
            for part in (rest, held)
        )
        generator = torch.Generator().manual_seed(self.seed)
        weights = _initial(x.shape[1], self.hidden, y.shape[1], generator, x.device)
        optimizer = torch.optim.Adam(weights, lr=self.lr, fused=True)
        best, chosen = float("inf"), weights
        for epoch in track(range(self.epochs), "training the projector"):
            for batch in torch.randperm(len(x), generator=generator).split(self.batch_size):
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
