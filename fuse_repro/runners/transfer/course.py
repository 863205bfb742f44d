"""How long a prompt is tuned, when dev is looked at, and which items a step reads."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.data import Sampler

from fuse_repro.runners.transfer.settings import PromptTuning


@dataclass(frozen=True)
class Course:
    """The course of one tuning.

    Attributes:
        items: how many training items there are.
        settings: how to tune.
    """

    items: int
    settings: PromptTuning

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training items."""
        return math.ceil(self.items / self.settings.batch_size)

    @property
    def epochs_per_look(self) -> int:
        """Epochs between two looks at dev."""
        settings = self.settings
        return math.ceil(min(settings.evaluate_every, settings.max_steps) / self.steps_per_epoch)

    @property
    def epochs(self) -> int:
        """Epochs in all; a look at dev ends the last one."""
        return self.epochs_per_look * math.ceil(self.settings.max_steps / self.steps_per_look)

    @property
    def steps_per_look(self) -> int:
        """Optimizer steps between two looks at dev."""
        return self.steps_per_epoch * self.epochs_per_look

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.steps_per_epoch * self.epochs

    def numbers(self, step: int) -> tuple[int, ...]:
        """The items of a step, the first step being 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.settings.batch_size
        return epoch_order(self.items, self.settings.seed, epoch)[place * size : (place + 1) * size]


@lru_cache(maxsize=1024)
def epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """A permutation of 0 .. count-1 that depends on seed and epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(count, generator=generator).tolist())


class EpochOrder(Sampler[int]):
    """A permutation of 0 .. count-1 for each epoch, the same after a resume."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self.count, self.seed, self.epoch))

    def __len__(self) -> int:
        return self.count
