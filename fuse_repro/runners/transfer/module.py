"""Prompt transfer as Lightning's test loop: every step fills the cells of one task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import nn

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError, first_line
from fuse_repro.metrics.precision import RelationPrecision
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import metering
from fuse_repro.progress import bar
from fuse_repro.runners.transfer.methods import Method, Setting
from fuse_repro.runners.transfer.results import answered, summary
from fuse_repro.runs.directory import RunDirectory


class PromptTransferModule(pl.LightningModule):
    """Evaluates the prompt of every method on every task with every seed, and appends a record of each.

    A cell that cannot be filled becomes a failed record and the others go on; one that has a record already, from an
    earlier start of the same run, is passed over.

    Args:
        models: all models by role; Lightning puts them on its device.
        methods: column -> what makes its prompts.
        setting: what they share.
        seeds: of the tuning and of the random baseline.
        split: what is asked.
        directory: of the run.
    """

    def __init__(
        self,
        models: Mapping[str, FrozenModel],
        methods: Mapping[str, Method],
        setting: Setting,
        seeds: Sequence[int],
        split: str,
        directory: RunDirectory,
    ) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.methods, self.seeds, self.split = dict(methods), list(seeds), split
        self.directory = directory
        self.advance: Callable[[float], None] = lambda cells: None
        self._setting = setting
        self.precision: dict[str, RelationPrecision] = {}
        self._known = directory.known()
        self._tasks: list[str] = []

    def tune(self, tasks: Sequence[PromptTask]) -> None:
        """Tune the prompts that open cells of these tasks need, before anything is moved."""
        self._tasks = [task.name for task in tasks]
        self._setting.tuned.prepare(
            (model, task, seed)
            for task in tasks
            for seed, name in self._open(task)
            for model in self.methods[name].tuned_models()
        )

    def open_cells(self, tasks: Sequence[PromptTask]) -> int:
        """How many cells of these tasks have no record yet."""
        return sum(len(self._open(task)) for task in tasks)

    def test_step(self, task: PromptTask, batch_idx: int) -> None:
        """Fill the open cells of one task."""
        cells = self._open(task)
        with bar(f"prompts for {task.name}", len(cells)) as advance:
            for seed, name in cells:
                key = cell_id(task.name, seed, name)
                cell = {"id": key, "task": task.name, "label": task.label, "seed": seed, "method": name}
                with metering() as spent:
                    found = self._cell(name, task, seed)
                cost = {"cost": spent.cost()} if found["status"] == "done" else {}
                self.directory.append(cell | found | cost, spent.seconds)
                self._known.add(key)
                advance(1)
                self.advance(1)

    def on_test_epoch_end(self) -> None:
        """Log precision@1 of every method, per task and over tasks, for Lightning's loggers and callbacks."""
        for name, counter in self.precision.items():
            self.log_dict({f"precision@1/{name}/{task}": share for task, share in counter.compute().items()})

    def results(self) -> dict[str, Any]:
        """What results.json holds. Raises UsageError where every cell failed."""
        return summary(self.directory.records(), self.split)

    def _counter(self, method: str) -> RelationPrecision:
        """What counts the items of a method over tasks and seeds."""
        return self.precision[method] if method in self.precision else RelationPrecision(self._tasks)

    def _open(self, task: PromptTask) -> list[tuple[int, str]]:
        """Seed and method of the cells of a task that have no record yet."""
        cells = [(seed, name) for seed in self.seeds for name in self.methods]
        return [(seed, name) for seed, name in cells if cell_id(task.name, seed, name) not in self._known]

    def _cell(self, name: str, task: PromptTask, seed: int) -> dict[str, Any]:
        try:
            model, prompt, notes = self.methods[name].prompt(task, seed)
            counter = self._counter(name)
            found = self._setting.exams.ask(model, prompt, task, self.split, counter)
            self.precision[name] = counter
        except UsageError as error:
            return {"status": "failed", "error": first_line(error)}
        return {
            "status": "done",
            "model": model.name,
            **answered(task, found),
            **notes,
        }


def cell_id(task: str, seed: int, method: str) -> str:
    """The id of the record of a task, a seed and a method."""
    return f"{task}/{seed}/{method}"
