"""How well a transferred prompt matches its source: the loss along the search, and what it is worth on the way."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fuse_repro.adapters.relative.match import TransferResult
from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import for_model
from fuse_repro.tasks import Exams

POINTS = 100


def dev_accuracy(
    target: FrozenModel, task: PromptTask, position: str, exams: Exams
) -> Callable[[Tensor], float]:
    """Rates a target prompt [m, d] by its precision@1 on the task's dev split (the transfer paper's Figure 2)."""
    return lambda prompt: exams.ask(target, for_model(target, prompt, position), task, "dev").accuracy


def matching_trace(result: TransferResult) -> dict[str, Any]:
    """The part of a record about the match.

    loss: mean matching loss of the rows; step: the chosen step of Adam; curve: (step, loss), at most about 100
    of them; scores: (step, loss, precision@1 on dev) where it was asked for.
    """
    trace: dict[str, Any] = {"loss": float(result.matching_loss.mean())}
    if result.step is not None:
        last = len(result.curve) - 1
        steps = [*range(0, last, max(1, -(-last // POINTS))), last]
        trace |= {"step": result.step, "curve": [[step, float(result.curve[step])] for step in steps]}
    if result.scores:
        trace["scores"] = [list(score) for score in result.scores]
    return trace
