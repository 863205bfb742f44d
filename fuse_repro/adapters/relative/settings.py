"""The settings of a relative prompt transfer, checked as soon as they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fuse_repro.errors import require

CHOICES = {
    "solver": ("closed_form", "adam"),
    "rescale": ("after", "in_loop", "off"),
    "select": ("last", "matching_loss", "dev"),
}


@dataclass(frozen=True)
class RelativeSettings:
    """Settings of a relative prompt transfer; `RelativePromptTransfer.fit` has their defaults.

    Attributes:
        k: of every prompt row, the cosines to its k most similar anchors count (paper: 8192); null is all.
        centre: see the anchors from their mean, which holds the direction that all embeddings share (paper:
            no).
        whiten: equalise the anchors' spread over all directions, so that cosines outlive not only a rotation
            but any linear change of the space (paper: no).
        add_mean: with `centre`, put the found prompt back around the target anchors' mean.
        length: how long rows are in the target's frame, as a multiple of how long they were in the source's
            (paper: 1, or whatever eq. 6 makes of it). Below 1, they go back towards the centre as in least
            squares.
        ridge: of the closed form, relative to the mean diagonal of A^T A; 0 is the exact optimum (paper).
        solver: "closed_form" or "adam" (paper: random start, `steps` steps of `lr`).
        steps: of Adam.
        lr: of Adam.
        rescale: eq. 6 "after" the search (paper), "in_loop" (the published code; Adam only), or "off".
        select: which of Adam's steps is returned: "last", the lowest "matching_loss" (needs no labels), or
            the best on labelled "dev" data, scored by the caller (the published code).
        check_every: steps between two calls of the caller's score (published code: 50).
        weights: of the sources in eq. 7, one each; null is 1 for all (paper).
        calibrate: choose k, centre, whiten, ridge and length by held-out anchors instead; see `calibrate`.
        holdout: anchors held out for that.
        holdout_noise: normal noise on them, in standard deviations of the source's embedding values: tuned
            prompts are no words. Those tuned from words at a low rate end at 0.2 to 0.25 from the nearest
            one. A source that is the target itself gets no noise.
        seed: of every random choice.
    """

    k: int | None
    centre: bool
    whiten: bool
    add_mean: bool
    length: float
    ridge: float
    solver: str
    steps: int
    lr: float
    rescale: str
    select: str
    check_every: int
    weights: Sequence[float] | None
    calibrate: bool
    holdout: int
    holdout_noise: float
    seed: int

    def __post_init__(self) -> None:
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        require(
            self.k is None or self.k >= 1, "adapter.k", self.k, "a whole number from 1 on, or null for all"
        )
        require(self.ridge >= 0, "adapter.ridge", self.ridge, "0 (the exact optimum) or more")
        require(0 < self.length < float("inf"), "adapter.length", self.length, "a number above 0")
        require(self.holdout_noise >= 0, "adapter.holdout_noise", self.holdout_noise, "0 or more")
        require(self.lr > 0, "adapter.lr", self.lr, "above 0")
        for name in ("steps", "check_every", "holdout"):
            require(getattr(self, name) >= 1, f"adapter.{name}", getattr(self, name), "at least 1")
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            require(value in allowed, f"adapter.{name}", value, f"one of {', '.join(allowed)}")
        for name, value in (("rescale", "in_loop"), ("select", "dev")):
            adam_only = getattr(self, name) != value or self.solver == "adam"
            require(
                adam_only, f"adapter.{name}", value, "the closed form has no steps; set adapter.solver=adam"
            )
