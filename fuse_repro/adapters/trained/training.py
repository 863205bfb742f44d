"""The training of a map as a LightningModule: supervised, by words whose embeddings both models have."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from fuse_repro.adapters.trained.network import WordNetwork
from fuse_repro.adapters.trained.settings import TrainedSettings
from fuse_repro.adapters.trained.words import Group, Groups, Shape, count
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

DIVERGED = 10.0  # mean loss of a stretch of training; what knows nothing but the mean has 1
OWN = "training"  # the key of what a checkpoint has besides Lightning's own
RISING = 0.05  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class TrainingCost:
    """What the training of a map took.

    Attributes:
        seconds: of wall time, those before a stop included.
        flops: floating-point operations of all forward and backward passes, as torch counts matrix products.
        steps: updates of the weights.
        words: words that were learnt from.
        held_out_error: mean squared error on the held-out words; 1 for what says the mean embedding of all words.
    """

    seconds: float
    flops: float
    steps: float
    words: float
    held_out_error: float


class WordTraining(pl.LightningModule):
    """Mean squared error of the translated embeddings, in units of the target's spread.

    A step is one batch of words of one shape, a shape as often as it has words. What a step draws depends on the seed
    and its number alone, so that a stopped training goes on as if it had not been stopped.

    Attributes:
        network: what is trained.
        best: name -> tensor of the network that was best on the held-out words so far; they choose.
        seconds: of wall time so far.
        flops: floating-point operations so far.
    """

    def __init__(
        self,
        network: WordNetwork,
        models: tuple[FrozenModel, FrozenModel],
        data: tuple[Groups, Groups],
        settings: TrainedSettings,
    ) -> None:
        """Nothing is trained yet.

        Args:
            network: in its first state.
            models: source and target, whose embeddings are read.
            data: the words to learn from, and the held-out ones.
            settings: how to train.
        """
        super().__init__()
        self.network, self.settings = network, settings
        self._models, (self._words, self._held) = models, data
        self.best: dict[str, Tensor] = {}
        self.error, self.done, self.seconds, self.flops = float("inf"), 0, 0.0, 0.0
        self.advance: Callable[[float], None] = lambda steps: None
        self._losses: list[Tensor] = []
        self._flops_of = {shape: _flops(network, models, shape) for shape in self._words}
        self._begun = time.perf_counter()

    def training_step(self, number: int, batch_idx: int) -> Tensor:
        """The loss of one batch of words; nothing waits for it before the next look.

        Raises:
            UsageError: as `look` does.
        """
        if self.done and self.done % self.settings.look_every == 0:
            self.look()
        draw = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + int(number))
        shape, group = self._drawn(draw)
        x, y = self._sides(group)
        noise = torch.randn(x.shape, generator=draw).to(x)
        loss = mse_loss(self.network.translate(x + self.settings.noise * noise, shape[1]), y)
        self._losses.append(loss.detach())
        self.flops += self._flops_of[shape] * len(x)
        self.done += 1
        self.advance(1.0)
        return loss

    def look(self) -> None:
        """Look at the held-out words, and keep the weights that are best there.

        Looks go by the number of steps. Lightning's epochs, at whose ends the training is written down, may be cut
        otherwise after a stop.

        Raises:
            UsageError: the loss is no finite number, or has grown far beyond that of knowing nothing.
        """
        mean = float(torch.stack(self._losses).mean()) if self._losses else 0.0
        error = self._held_out_error()
        if not (mean <= DIVERGED and error < float("inf")):  # a loss that is no number is neither
            raise self._diverged(mean)
        self._losses.clear()
        if error < self.error:
            self.error = error
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises, and falls to zero by a cosine."""
        own = self.settings
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=own.lr, weight_decay=own.weight_decay)
        rising = max(1, round(RISING * own.steps))

        def scale(step: int) -> float:
            fallen = max(0, step - rising) / max(1, own.steps - rising)
            return min((step + 1) / rising, 0.5 + 0.5 * math.cos(math.pi * min(fallen, 1.0)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[int]:
        """The numbers of the steps until the training is written down."""
        numbers: Any = range(self.done, min(self.done + self.settings.look_every, self.settings.steps))
        return DataLoader(numbers, batch_size=None, generator=torch.Generator())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a training that goes on has to know."""
        self._count_time()
        known = {"error": self.error, "done": self.done, "seconds": self.seconds, "flops": self.flops}
        checkpoint[OWN] = {"best": self.best, **known}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what `on_save_checkpoint` wrote."""
        for name, value in checkpoint[OWN].items():
            setattr(self, name, value)
        self.advance(float(self.done))

    def cost(self) -> TrainingCost:
        """What it took so far."""
        self._count_time()
        return TrainingCost(self.seconds, self.flops, self.done, count(self._words), self.error)

    def _drawn(self, draw: torch.Generator) -> tuple[Shape, Group]:
        shapes = list(self._words)
        sizes = torch.tensor([len(group.source) for group in self._words.values()], dtype=torch.float64)
        shape = shapes[int(torch.multinomial(sizes, 1, generator=draw))]
        group = self._words[shape]
        chosen = torch.randint(len(group.source), (self.settings.batch_size,), generator=draw)
        chosen = chosen.to(group.source.device)
        return shape, Group(group.source[chosen], group.target[chosen])

    def _sides(self, group: Group) -> tuple[Tensor, Tensor]:
        """Both models' embeddings in the network's units: [K, s, d_s] and [K, t, d_t]."""
        with torch.no_grad():
            source, target = self._models
            x, y = source.embed(group.source).float(), target.embed(group.target).float()
            return self.network.read(x), self.network.aim(y)

    @torch.no_grad()
    def _held_out_error(self) -> float:
        total = 0.0
        for shape, group in self._held.items():
            x, y = self._sides(group)
            total += len(x) * float(mse_loss(self.network.translate(x, shape[1]), y))
        return total / count(self._held)

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.seconds, self._begun = self.seconds + now - self._begun, now

    def _diverged(self, loss: float) -> UsageError:
        own = self.settings
        return UsageError(
            f"training the map diverged by step {self.done} of {own.steps} (loss {loss:.3g}, where knowing nothing "
            f"has 1): lower adapter.lr={own.lr}"
        )


def _flops(network: WordNetwork, models: tuple[FrozenModel, FrozenModel], shape: Shape) -> float:
    """Operations of a forward and a backward pass of one word."""
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        rows = torch.zeros(1, shape[0], models[0].embedding_size, device=models[0].device)
        network.translate(rows, shape[1]).sum().backward()
    network.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())
