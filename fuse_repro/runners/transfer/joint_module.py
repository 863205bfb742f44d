"""The Lightning module that tunes several soft prompts of one frozen model at once, each as it would be alone."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fuse_repro.errors import UsageError
from fuse_repro.loss import MultiObjectiveLoss
from fuse_repro.models.precision import as_forward
from fuse_repro.prompts.batch import Answered, SoftPromptBatch
from fuse_repro.runners.transfer.checkpoints import GROUP
from fuse_repro.runners.transfer.course import Course
from fuse_repro.runners.transfer.looks import Asked, look
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning_module import Watch, changed, diverged, ignore
from fuse_repro.tasks.reader import Reader


@dataclass(frozen=True, eq=False)
class Member:
    """One prompt of a group.

    Attributes:
        key: what it is known by in checkpoints.
        initial: [m, d], where it starts.
        settings: how it is tuned.
        train, dev: its items, among those of the group's reader.
        watch: told the step and its loss (nats), and precision@1 wherever dev is looked at.
    """

    key: str
    initial: Tensor
    settings: PromptTuning
    train: Asked
    dev: Asked
    watch: Watch = ignore

    @property
    def course(self) -> Course:
        """How long it is tuned."""
        return Course(len(self.train), self.settings)


@dataclass
class Progress:
    """How far a prompt has come.

    Attributes:
        step: optimizer steps done.
        score: of the best look at dev: hits, less a part below one that grows with the loss.
        hits: of that look.
        misses: looks since then.
        done: whether it has left the group.
        lost: the loss that was no finite number, as text.
    """

    step: int = 0
    score: float = -math.inf
    hits: int = 0
    misses: int = 0
    done: bool = False
    lost: str | None = None


class JointTuningModule(pl.LightningModule):
    """Trains P soft prompts; in every step each reads its own items, all in one forward pass.

    Each has its own optimiser, schedule, order of items, looks at dev and early stop. One that has stopped leaves the
    batch. Where the batch does not fit in memory, it is cut between prompts.

    Args:
        reader: of the items of all members.
        objective: what is minimised, of a SoftPromptBatch with one prompt.
        members: the prompts.
        epoch: steps after which the whole group is kept in a checkpoint.
        spread: the standard deviation of the model's embedding values.
    """

    def __init__(
        self,
        reader: Reader,
        objective: MultiObjectiveLoss,
        members: Sequence[Member],
        epoch: int,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.spread = spread
        self.automatic_optimization = False
        self.prompts = nn.ParameterList([nn.Parameter(one.initial.detach().clone()) for one in members])
        for number, member in enumerate(members):
            self.register_buffer(f"best_{number}", member.initial.detach().clone())
        self.members, self.progress = list(members), [Progress() for _ in members]
        self.losses: list[list[float]] = [[] for _ in members]
        self.advance: Callable[[float], None] = lambda steps: None
        self.epoch_steps = epoch
        self._unread: list[list[Tensor]] = [[] for _ in members]  # losses, not asked of the device yet
        self._reader, self._objective = reader, (objective,)

    @property
    def steps(self) -> int:
        """Steps of the member that can take most."""
        return max(member.course.steps for member in self.members)

    def best(self, number: int) -> Tensor:
        """The prompt [m, d] of a member that was best on dev."""
        return self.get_buffer(f"best_{number}")

    def failure(self, number: int) -> UsageError | None:
        """Why a member has no prompt, if it has none."""
        lost = self.progress[number].lost
        return None if lost is None else diverged(float(lost), self.members[number].settings)

    def going(self) -> list[int]:
        """The members that have not stopped."""
        return [number for number, progress in enumerate(self.progress) if not progress.done]

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One step of every member that is going, and a look at dev for those whose time it is."""
        going = self.going()
        new = [one for one in going if self.progress[one].step == 0 and self.members[one].settings.keep_start]
        if new:
            self._look(new)
        batches = self._reader.lm.batches("tuned prompt", len(self.members))
        for part, (losses, gradients) in batches.each(len(going), partial(self._gradients, going)):
            for number, loss, gradient in zip(going[part], losses, gradients, strict=True):
                self.prompts[number].grad = gradient
                self._unread[number].append(loss)
        optimizers, schedules = _listed(self.optimizers()), _listed(self.lr_schedulers())
        for number in going:
            optimizers[number].step()
            if schedules:
                schedules[number].step()
            self.progress[number].step += 1
        self.advance(float(len(going)))
        due = [one for one in going if self.progress[one].step % self.members[one].course.steps_per_look == 0]
        if due:
            self._look(due)
        if not self.going():
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """Each member's own optimiser and schedule."""
        pairs = [
            member.settings.steps_of([prompt], member.course.steps, self.spread)
            for member, prompt in zip(self.members, self.prompts, strict=True)
        ]
        schedules = [schedule for _, schedule in pairs if schedule is not None]
        return [optimizer for optimizer, _ in pairs], schedules

    def train_dataloader(self) -> DataLoader:
        """The numbers of an epoch's steps; the members know their items."""
        numbers: Any = range(self.epoch_steps)
        return DataLoader(numbers, batch_size=None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the members' progress, and the losses that no look at dev has read yet."""
        unread = [torch.stack(losses).tolist() if losses else [] for losses in self._unread]
        checkpoint[GROUP] = {
            "keys": [member.key for member in self.members],
            "progress": [asdict(progress) for progress in self.progress],
            "unread": unread,
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on where the group was."""
        kept = checkpoint[GROUP]
        self.progress = [Progress(**values) for values in kept["progress"]]
        device = self.prompts[0].device
        self._unread = [list(torch.tensor(losses, device=device)) for losses in kept["unread"]]
        self.advance(float(sum(progress.step for progress in self.progress)))

    def _gradients(self, going: Sequence[int], part: slice) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The losses of some members' next steps, and the gradients by their prompts."""
        chosen, numbers, rows = going[part], [], []
        for number in chosen:
            member = self.members[number]
            rows.append(member.course.numbers(self.progress[number].step))
            numbers += [member.train.first + row for row in rows[-1]]
        prompts = [self.prompts[number] for number in chosen]
        read = [self._changed(number) for number in chosen]
        own = [prompt.expand(len(items), -1, -1) for prompt, items in zip(read, rows, strict=True)]
        logits = self._reader.logits(numbers, torch.cat(own)).float().split([len(items) for items in rows])
        losses = []
        for number, items, prompt, answers in zip(chosen, rows, read, logits, strict=True):
            train = self.members[number].train
            answered = Answered(answers.unsqueeze(0), train.gold_of(items), train.candidates)
            batch = SoftPromptBatch(prompt.unsqueeze(0), answered)
            losses.append(self._objective[0](batch).total.sum())
        with as_forward(own[0].device):
            gradients = torch.autograd.grad(torch.stack(losses).sum(), prompts)
        return [loss.detach() for loss in losses], gradients

    def _changed(self, number: int) -> Tensor:
        """A member's prompt [m, d] as its next step reads it."""
        step, settings = self.progress[number].step, self.members[number].settings
        return changed(self.prompts[number], settings, step, self.spread)

    def _look(self, due: Sequence[int]) -> None:
        """Read these members' losses, ask dev, keep the prompts that are better, and stop those that are not."""
        counts = [len(self._unread[number]) for number in due]
        losses = [torch.stack(self._unread[number]) for number in due if self._unread[number]]
        asked = [self.members[number].dev for number in due]
        found = look(self._reader, asked, torch.stack([self.prompts[number].detach() for number in due]))
        values: Iterator[float] = iter(
            torch.cat([*losses, found.flatten()]).tolist()
        )  # waits for the device once
        traces = [[next(values) for _ in range(count)] for count in counts]
        for number, trace in zip(due, traces, strict=True):
            self._unread[number] = []
            self._told(number, trace, hits=int(next(values)), loss=next(values))

    def _told(self, number: int, trace: Sequence[float], hits: int, loss: float) -> None:
        member, progress = self.members[number], self.progress[number]
        begin = progress.step - len(trace)
        for step, value in enumerate(trace, begin):
            if not math.isfinite(value):
                self._leave(number, value)
                return
            self.losses[number].append(value)
            member.watch(step, {"loss": value})
        member.watch(progress.step, {"dev_accuracy": hits / len(member.dev)})
        if not math.isfinite(loss):  # on dev only: the best prompt so far is kept, if there is one
            self._leave(number, None if progress.score > -math.inf else loss)
            return
        score = hits - loss / (1 + loss)
        if score > progress.score:
            progress.score, progress.hits, progress.misses = score, hits, 0
            self.best(number).copy_(self.prompts[number].detach())
        else:
            progress.misses += 1
        if progress.misses >= member.settings.patience or progress.step >= member.course.steps:
            self._leave(number)

    def _leave(self, number: int, lost: float | None = None) -> None:
        """A member is done, or has diverged with this loss; the others go on."""
        progress = self.progress[number]
        progress.done, progress.lost = True, None if lost is None else str(lost)
        self.advance(float(self.members[number].course.steps - progress.step))


def _listed(found: Any) -> list[Any]:
    """Lightning's optimisers or schedules, of which it gives a single one as it is."""
    return found if isinstance(found, list) else [] if found is None else [found]
