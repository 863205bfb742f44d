"""The settings of a trained map, checked as soon as they are given."""

from __future__ import annotations

from dataclasses import dataclass

from fuse_repro.errors import require

TRANSFORMER, MLP, LINEAR = ARCHITECTURES = ("transformer", "mlp", "linear")
COUNTS = ("max_tokens", "width", "layers", "heads", "steps", "batch_size", "looks")


@dataclass(frozen=True)
class TrainedSettings:
    """What is trained, and how; `TrainedMap.fit` has the defaults.

    Attributes:
        architecture: "transformer", "mlp" (two layers) or "linear".
        max_tokens: the most tokens, in either model, of a word that is learnt from.
        width: of the transformer, or hidden units of the two layers.
        layers: of the transformer.
        heads: of each of its layers.
        steps: updates of the weights.
        batch_size: words per step, all of equal numbers of tokens.
        lr: of AdamW, at its highest.
        weight_decay: of AdamW.
        noise: added to what the network reads, in standard deviations of the embeddings.
        holdout: words that are not learnt from and that choose the weights; at most a tenth of all.
        looks: how often the held-out words are looked at, and the training is written down.
        seed: of every random choice.
    """

    architecture: str
    max_tokens: int
    width: int
    layers: int
    heads: int
    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    noise: float
    holdout: int
    looks: int
    seed: int

    def __post_init__(self) -> None:
        known = ", ".join(ARCHITECTURES)
        require(
            self.architecture in ARCHITECTURES, "adapter.architecture", self.architecture, f"one of {known}"
        )
        for name in COUNTS:
            value = getattr(self, name)
            whole = isinstance(value, int) and value >= 1
            require(whole, f"adapter.{name}", value, "a whole number from 1 on")
        divides = self.architecture != TRANSFORMER or self.width % self.heads == 0
        require(divides, "adapter.width", self.width, f"a multiple of adapter.heads={self.heads}")
        require(self.lr > 0, "adapter.lr", self.lr, "above 0")
        require(self.weight_decay >= 0, "adapter.weight_decay", self.weight_decay, "0 or more")
        require(self.noise >= 0, "adapter.noise", self.noise, "0 (none) or more")
        require(self.holdout >= 1, "adapter.holdout", self.holdout, "at least 1 word")

    @property
    def look_every(self) -> int:
        """Steps from one look at the held-out words to the next."""
        return -(-self.steps // self.looks)
