"""The Lightning module that tunes a soft prompt: it minimises a MultiObjectiveLoss, on a frozen model."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from fuse_repro.errors import UsageError
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.metrics.precision import PrecisionAtOne
from fuse_repro.models.keys_values import on_device
from fuse_repro.prompts.batch import Answered, SoftPromptBatch
from fuse_repro.runners.transfer.course import Course, EpochOrder
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.tasks.answers import Answers, credited
from fuse_repro.tasks.reader import Reader

STEPS = 1_000_003  # more than a prompt is tuned for
Watch = Callable[[int, Mapping[str, float]], None]


def ignore(step: int, values: Mapping[str, float]) -> None:
    """Watch nothing."""


def diverged(loss: float, settings: PromptTuning) -> UsageError:
    """The error of a tuning whose loss is no finite number."""
    rate = settings.torch_optimizer.get("lr")
    return UsageError(f"tuning diverged (loss {loss}): lower optimizer.torch_optimizer.lr={rate}")


@dataclass(frozen=True)
class Look:
    """What a prompt gets right on dev.

    Attributes:
        hits: how many items.
        loss: mean cross-entropy among the candidates, in nats.
    """

    hits: int
    loss: float

    @property
    def score(self) -> float:
        """The hits, less a part below one that grows with the loss, so that it decides between equals."""
        return self.hits - self.loss / (1 + self.loss)


def changed(prompt: Tensor, settings: PromptTuning, step: int, spread: float) -> Tensor:
    """The prompt [m, d] with the noise of one step, which depends on the seed and the step alone."""
    if settings.noise == 0:
        return prompt
    generator = torch.Generator().manual_seed(settings.seed * STEPS + step)
    drawn = torch.randn(prompt.shape, generator=generator)
    return prompt + (settings.noise * spread * drawn).to(prompt)


@dataclass(frozen=True, eq=False)
class ReadyItems:
    """The items of a split that have an answer of one token.

    Attributes:
        reader: how to read them.
        gold: [N] the number of each item's answer among the candidates.
        right: bool [N, A], the right ones of the candidates, where items have several; else None.
    """

    reader: Reader
    gold: Tensor
    right: Tensor | None = None

    def __len__(self) -> int:
        return len(self.gold)


class PromptTuningModule(pl.LightningModule):
    """Trains one soft prompt [m, d]; the language model is referred to, not owned, so it is not in checkpoints.

    Args:
        initial: [m, d], where it starts.
        objective: what is minimised, of a SoftPromptBatch with one prompt.
        answers: the candidates.
        train, dev: the items.
        settings: how to tune.
        spread: the standard deviation of the model's embedding values.
    """

    def __init__(
        self,
        initial: Tensor,
        objective: MultiObjectiveLoss,
        answers: Answers,
        train: ReadyItems,
        dev: ReadyItems,
        settings: PromptTuning,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.spread = spread
        self.prompt = nn.Parameter(initial.detach().clone())
        self.settings = settings
        self.losses: list[float] = []
        self.advance: Callable[[float], None] = lambda steps: None
        self.watch: Watch = ignore
        self._unread: list[tuple[int, Tensor]] = []  # step and loss, not asked of the device yet
        self._objective = (objective,)  # no submodule: its buffers are the model's, not the prompt's
        self._answers, self._train, self._dev = answers, train, dev

    @property
    def dev_items(self) -> int:
        """How many items dev has."""
        return len(self._dev)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training items."""
        return self._course.steps_per_epoch

    @property
    def epochs_per_look(self) -> int:
        """Epochs between two looks at dev."""
        return self._course.epochs_per_look

    @property
    def epochs(self) -> int:
        """Epochs in all; a look at dev ends the last one."""
        return self._course.epochs

    @property
    def _course(self) -> Course:
        return Course(len(self._train), self.settings)

    def training_step(self, numbers: Sequence[int], batch_idx: int) -> Tensor:
        """The objective of the prompt on these items; its cross-entropy is in nats (eq. 2)."""
        prompt = changed(self.prompt, self.settings, self.global_step, self.spread)
        logits = self._train.reader.logits(numbers, prompt).float()
        gold = self._train.gold[on_device(numbers, self.prompt.device)]
        answered = Answered(logits.unsqueeze(0), gold, self._answers.ids)
        loss: Tensor = self._objective[0](SoftPromptBatch(prompt.unsqueeze(0), answered)).total.sum()
        self._unread.append((self.global_step, loss.detach()))
        self.advance(1.0)
        return loss

    def on_train_end(self) -> None:
        """Read the losses since the last look at dev. Raises UsageError as `validation_step` does."""
        self._read_losses()

    def _read_losses(self) -> None:
        """Ask the device for the losses of all steps since the last time, at once: a step waits for nothing."""
        if not self._unread:
            return
        steps, losses = zip(*self._unread, strict=True)
        self._unread = []
        for step, loss in zip(steps, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise diverged(loss, self.settings)
            self.losses.append(loss)
            self.watch(step, {"loss": loss})

    def validation_step(self, numbers: Sequence[int], batch_idx: int) -> None:
        """Precision@1 on dev.

        Raises:
            UsageError: tuning has diverged since the last look.
        """
        self._read_losses()
        found = self.look()
        self.log("dev_accuracy", found.hits / len(numbers), batch_size=len(numbers))
        self.log("dev_score", torch.tensor(found.score, dtype=torch.float64), batch_size=1)

    @torch.no_grad()
    def look(self) -> Look:
        """What the prompt gets right on dev as it is now; the watch is told."""
        counter, sums = PrecisionAtOne(len(self._answers.words)).to(self.prompt.device), []
        size, count = self.settings.batch_size, len(self._dev)
        for begin in range(0, count, size):
            chosen = list(range(begin, min(begin + size, count)))
            logits = self._dev.reader.logits(chosen, self.prompt)[:, self._answers.ids].float()
            rows = on_device(chosen, self.prompt.device)
            gold, right = self._dev.gold[rows], self._dev.right
            counter.update(logits, credited(logits, gold, None if right is None else right[rows]))
            sums.append(cross_entropy(logits, gold, reduction="sum"))
        loss = 0.0
        for part in torch.stack(sums).tolist():
            loss += part / count
        self.watch(self.global_step, {"dev_accuracy": float(counter.compute())})
        return Look(int(counter.counts[0]), loss)

    def configure_optimizers(self) -> Any:
        """The settings' optimiser, with its schedule where there is one."""
        steps = self.steps_per_epoch * self.epochs
        optimizer, schedule = self.settings.steps_of([self.prompt], steps, self.spread)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        """Item numbers in an order that depends on the seed and the epoch alone."""
        numbers: Any = range(len(self._train))
        order = EpochOrder(len(numbers), self.settings.seed)
        return DataLoader(numbers, self.settings.batch_size, sampler=order, collate_fn=list)

    def val_dataloader(self) -> DataLoader:
        """All dev items at once."""
        numbers: Any = range(len(self._dev))
        return DataLoader(numbers, len(numbers), collate_fn=list)
