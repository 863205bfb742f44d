"""The Lightning module that tunes a soft prompt by OptiPrompt's objective (Zhong et al. 2021; eq. 2)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Sampler

from fuse_repro.errors import UsageError, require
from fuse_repro.prompts import POSITIONS
from fuse_repro.tasks.answers import Answers
from fuse_repro.tasks.reader import Reader

INITS = ("normal", "vocabulary", "template")
OBJECTIVES = ("vocabulary", "answers")
Watch = Callable[[int, Mapping[str, float]], None]


def ignore(step: int, values: Mapping[str, float]) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class TuningSettings:
    """How a prompt is tuned.

    Attributes:
        m: its length.
        position: `postfix` (paper) or `prefix` (PEFT).
        init: `normal` (fitted to the embeddings), `vocabulary` (random tokens) or `template` (the manual prompt).
        objective: cross-entropy of the answer against the whole `vocabulary` (paper) or against the task's
            `answers` only.
        lr: Adam's highest learning rate; it rises linearly over the first `warmup` of the steps and then falls
            linearly to zero, as in OptiPrompt.
        max_steps: optimizer steps, rounded up until dev is looked at.
        batch_size: items in a step.
        evaluate_every: dev is looked at after at least so many steps, at the end of an epoch.
        patience: stop after so many looks without an improvement.
        max_text_tokens: longer texts are cut at the end.
        seed: of the initialisation and the order of the items.
    """

    m: int = 5
    position: str = "postfix"
    init: str = "normal"
    objective: str = "vocabulary"
    lr: float = 0.01
    max_steps: int = 80
    batch_size: int = 16
    warmup: float = 0.1
    evaluate_every: int = 10
    patience: int = 8
    max_text_tokens: int | None = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("m", "max_steps", "batch_size", "evaluate_every", "patience"):
            require(getattr(self, name) >= 1, f"tuning.{name}", getattr(self, name), "at least 1")
        require(
            self.position in POSITIONS, "tuning.position", self.position, f"one of {', '.join(POSITIONS)}"
        )
        require(self.init in INITS, "tuning.init", self.init, f"one of {', '.join(INITS)}")
        known = f"one of {', '.join(OBJECTIVES)}"
        require(self.objective in OBJECTIVES, "tuning.objective", self.objective, known)
        require(0 < self.lr < math.inf, "tuning.lr", self.lr, "a number above 0")
        require(0 <= self.warmup < 1, "tuning.warmup", self.warmup, "from 0 to below 1, a share of the steps")


@dataclass(frozen=True, eq=False)
class ReadyItems:
    """The items of a split that have an answer of one token: how to read them, and the candidate of each, [N]."""

    reader: Reader
    gold: Tensor

    def __len__(self) -> int:
        return len(self.gold)


class PromptTuningModule(pl.LightningModule):
    """Trains one soft prompt [m, d]; the language model is referred to, not owned, so it is not in checkpoints."""

    def __init__(
        self, initial: Tensor, answers: Answers, train: ReadyItems, dev: ReadyItems, settings: TuningSettings
    ) -> None:
        super().__init__()
        self.prompt = nn.Parameter(initial.detach().clone())
        self.settings = settings
        self.losses: list[float] = []
        self.advance: Callable[[float], None] = lambda steps: None
        self.watch: Watch = ignore
        self._answers, self._train, self._dev = answers, train, dev

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training items."""
        return math.ceil(len(self._train) / self.settings.batch_size)

    @property
    def epochs_per_look(self) -> int:
        """Epochs between two looks at dev."""
        settings, steps = self.settings, self.steps_per_epoch
        return math.ceil(min(settings.evaluate_every, settings.max_steps) / steps)

    @property
    def epochs(self) -> int:
        """Epochs in all; a look at dev ends the last one."""
        every = self.epochs_per_look
        return every * math.ceil(self.settings.max_steps / (self.steps_per_epoch * every))

    def training_step(self, numbers: Sequence[int], batch_idx: int) -> Tensor:
        """Mean cross-entropy of the answers, in nats (eq. 2)."""
        logits = self._train.reader.logits(numbers, self.prompt).float()
        gold = self._train.gold[list(numbers)]
        if self.settings.objective == "vocabulary":
            loss = cross_entropy(logits, self._answers.ids[gold])
        else:
            loss = cross_entropy(logits[:, self._answers.ids], gold)
        if not torch.isfinite(loss):
            raise UsageError(f"tuning diverged (loss {loss.item()}): lower tuning.lr={self.settings.lr}")
        self.losses.append(loss.item())
        self.watch(self.global_step, {"loss": self.losses[-1]})
        self.advance(1.0)
        return loss

    def validation_step(self, numbers: Sequence[int], batch_idx: int) -> None:
        """Precision@1 on dev; `dev_score` counts hits, and its part below one prefers the smaller loss."""
        hits, loss = 0, 0.0
        size = self.settings.batch_size
        for begin in range(0, len(numbers), size):
            chosen = list(numbers[begin : begin + size])
            logits = self._dev.reader.logits(chosen, self.prompt)[:, self._answers.ids].float()
            gold = self._dev.gold[chosen]
            hits += int((logits.argmax(dim=1) == gold).sum())
            loss += float(cross_entropy(logits, gold, reduction="sum")) / len(numbers)
        self.watch(self.global_step, {"dev_accuracy": hits / len(numbers)})
        self.log("dev_accuracy", hits / len(numbers), batch_size=len(numbers))
        self.log("dev_score", torch.tensor(hits - loss / (1 + loss), dtype=torch.float64), batch_size=1)

    def configure_optimizers(self) -> Any:
        """Adam with linear warm-up and linear decay."""
        optimizer = torch.optim.Adam([self.prompt], lr=self.settings.lr)
        total = self.steps_per_epoch * self.epochs
        rising = self.settings.warmup * total

        def scale(step: int) -> float:
            return min((step + 1) / (rising + 1), (total - step) / (total - rising))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
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


class EpochOrder(Sampler[int]):
    """A permutation of 0 .. count-1 for each epoch, the same after a resume."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.count, generator=generator).tolist())

    def __len__(self) -> int:
        return self.count
