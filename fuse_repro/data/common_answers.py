"""Tasks that share one list of candidates, so that the kind of answer wanted has to come from the prompt."""

from dataclasses import replace

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.data.task_data import PromptTaskData


class CommonAnswers(PromptTaskData):
    """The tasks of another source, each choosing among the answers of all of them (as LAMA's common vocabulary).

    Among capitals alone, a model that knows one capital of a subject answers right whatever it is asked.

    Args:
        of: the source of the tasks.
    """

    def __init__(self, of: PromptTaskData) -> None:
        super().__init__()
        self.of = of

    def tasks(self) -> tuple[PromptTask, ...]:
        """The tasks, each with the answers of all, sorted.

        Raises:
            UsageError: as the source does.
        """
        tasks = self.of.tasks()
        answers = tuple(sorted({answer for task in tasks for answer in task.answers}))
        return tuple(replace(task, answers=answers) for task in tasks)
