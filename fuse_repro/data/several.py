"""Tasks of several sources in one table."""

from collections.abc import Mapping

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import require


class SeveralTasks(PromptTaskData):
    """The tasks of all `parts`, in their order.

    Args:
        parts: name -> source of tasks.

    Raises:
        UsageError: no parts.
    """

    def __init__(self, parts: Mapping[str, PromptTaskData]) -> None:
        super().__init__()
        require(len(parts) > 0, "dataset.parts", dict(parts), "at least one task")
        self.parts = dict(parts)

    def tasks(self) -> tuple[PromptTask, ...]:
        """All tasks of all parts.

        Raises:
            UsageError: as the parts do, and for a task name that stands twice.
        """
        tasks = tuple(task for part in self.parts.values() for task in part.tasks())
        names = [task.name for task in tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, "dataset.parts", twice, "tasks of different names")
        return tasks
