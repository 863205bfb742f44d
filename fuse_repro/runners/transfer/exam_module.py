"""Prompts that are there already, asked every task of a data set: Lightning's test loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import nn

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError, first_line
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import metering
from fuse_repro.prompts import SoftPrompt
from fuse_repro.runners.transfer.results import answered
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.tasks import Exams

Asked = tuple[FrozenModel, SoftPrompt | str]


class PromptExamModule(pl.LightningModule):
    """Appends one record per task and prompt; one that is there already is passed over.

    Args:
        asked: what asks a task: name -> the model and its prompt.
        models: all that are asked; Lightning puts them on its device.
        split: what is asked.
        directory: of the run.
        calibrated: whether every prompt is also judged with the answers' priors taken out.
    """

    def __init__(
        self,
        asked: Callable[[PromptTask], Mapping[str, Asked]],
        models: Sequence[FrozenModel],
        split: str,
        directory: RunDirectory,
        calibrated: bool = False,
    ) -> None:
        super().__init__()
        self.asked, self.split, self.directory = asked, split, directory
        self.models = nn.ModuleList(dict.fromkeys(models))
        self._exams = Exams(calibrated)
        self._known = directory.known()

    def test_step(self, task: PromptTask, batch_idx: int) -> None:
        """Ask one task with every prompt."""
        for name, (model, prompt) in self.asked(task).items():
            key = f"{task.name}/{name}"
            if key not in self._known:
                row = {"id": key, "task": task.name, "label": task.label, "method": name, "model": model.name}
                with metering() as spent:
                    found = self._cell(model, prompt, task)
                cost = {"cost": spent.cost()} if found["status"] == "done" else {}
                self.directory.append(row | found | cost, spent.seconds)

    def _cell(self, model: FrozenModel, prompt: SoftPrompt | str, task: PromptTask) -> dict[str, Any]:
        try:
            found = self._exams.ask(model, prompt, task, self.split)
        except UsageError as error:
            return {"status": "failed", "error": first_line(error)}
        return {"status": "done", **answered(task, found)}
