"""Prompting tasks as a data set: one task at a time for a test loop."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.data.shards import Divisible


class PromptTaskData(Divisible, LightningDataModule):
    """A data set that gives one or several tasks; its test loader yields one `PromptTask` at a time.

    A shard of it is some of the tasks: a record counts all items of a task, so that no task is cut.
    """

    def tasks(self) -> tuple[PromptTask, ...]:
        """The tasks, always the same for the same settings.

        Raises:
            UsageError: data that cannot be used.
        """
        raise NotImplementedError

    def own(self, tasks: Sequence[PromptTask]) -> tuple[PromptTask, ...]:
        """Those of all `tasks` that belong to the shard. Raises UsageError where there are fewer tasks than shards."""
        return self.division.part(tasks, [task.name for task in tasks])

    def ask_only(self, tasks: Sequence[PromptTask]) -> None:
        """Let the test loader yield these instead, such as the tasks without the answers that a model lacks."""
        self._asked = tuple(tasks)

    def test_dataloader(self) -> DataLoader:
        """A loader without batches: every step is one task."""
        asked: Any = getattr(self, "_asked", None) or self.own(self.tasks())
        return DataLoader(asked, batch_size=None, num_workers=0, collate_fn=_identity)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Tasks hold no tensors and stay where they are."""
        return batch


def _identity(task: PromptTask) -> PromptTask:
    return task
