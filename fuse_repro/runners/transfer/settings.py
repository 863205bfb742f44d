"""How a soft prompt is tuned: the `optimizer` of a prompt transfer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fuse_repro.errors import UsageError, require
from fuse_repro.prompts import POSITIONS
from fuse_repro.runners.values import check_value

INITS = ("normal", "vocabulary", "template")
TEMPLATE = "template"  # the position that each task's own template says
Node = Mapping[str, Any]


def _adam() -> dict[str, Any]:
    return {"_target_": "torch.optim.Adam", "lr": 0.01}


def _linear_warmup() -> dict[str, Any]:
    return {"_target_": "fuse_repro.runners.transfer.schedules.linear_warmup", "warmup": 0.1}


def _answers() -> dict[str, Any]:
    target = "fuse_repro.objectives.AnswerCrossEntropyTerm"
    return {"answer": {"_target_": target, "weight": 1.0, "model": "lm", "candidates": "vocabulary"}}


@dataclass(frozen=True)
class PromptTuning:
    """How a prompt is tuned; the defaults are OptiPrompt's (transfer paper, eq. 2).

    Attributes:
        m: its length; None where the template says it.
        position: `postfix` (paper), `prefix` (PEFT), `after_bos` (as `prefix`, behind the model's own first token), or
            `template`: a vector in place of every token that the task's template has before and behind the text.
        init: `normal` (fitted to the embeddings), `vocabulary` (random tokens) or `template` (the manual prompt).
        torch_optimizer: `_target_`, one of torch's optimisers, with its arguments.
        schedule: `_target_`, one of torch's schedules of the learning rate or one of ours, with its arguments; it is
            given the optimiser and, where it takes them, the `total_steps`. None for a constant rate.
        objective: what is minimised, as in conf/objective: term -> `_target_`, weight, model (always `lm`, the model
            that is tuned for), and the term's own arguments.
        spread_lr: whether torch_optimizer.lr counts in standard deviations of the model's embedding values, which
            differ between models.
        noise: random change of the prompt in every step, in the same unit; what is tuned then bears such a change.
        keep_start: whether dev is looked at before the first step, too, so that the result is no worse there.
        max_steps: optimizer steps, rounded up until dev is looked at.
        batch_size: items in a step.
        evaluate_every: dev is looked at after at least so many steps, at the end of an epoch.
        patience: stop after so many looks without an improvement.
        max_text_tokens: longer texts are cut at the end.
        seed: of the initialisation and the order of the items.
        together: how many prompts of one model share a forward pass, whatever their tasks and seeds; None for as many
            as fit in memory on a GPU, and on a CPU the seeds of each task. The results are those of one by one, to
            rounding.

    Raises:
        UsageError: a value that cannot be used.
    """

    m: int | None = 5
    position: str = "postfix"
    init: str = "normal"
    torch_optimizer: Node = field(default_factory=_adam)
    schedule: Node | None = field(default_factory=_linear_warmup)
    objective: Node = field(default_factory=_answers)
    spread_lr: bool = False
    noise: float = 0.0
    keep_start: bool = False
    max_steps: int = 80
    batch_size: int = 16
    evaluate_every: int = 10
    patience: int = 8
    max_text_tokens: int | None = 128
    seed: int = 0
    together: int | None = None

    def __post_init__(self) -> None:
        for name in ("torch_optimizer", "schedule", "objective"):
            node = getattr(self, name)
            if isinstance(node, DictConfig):
                object.__setattr__(self, name, OmegaConf.to_container(node, resolve=True))
        for name in ("max_steps", "batch_size", "evaluate_every", "patience"):
            require(getattr(self, name) >= 1, f"optimizer.{name}", getattr(self, name), "at least 1")
        require(self.noise >= 0, "optimizer.noise", self.noise, "at least 0")
        together, whole = (
            self.together,
            isinstance(self.together, int) and not isinstance(self.together, bool),
        )
        least = together is None or (whole and together >= 1)
        require(least, "optimizer.together", together, "a whole number of at least 1, or null")
        known = f"one of {', '.join((*POSITIONS, TEMPLATE))}"
        require(self.position in (*POSITIONS, TEMPLATE), "optimizer.position", self.position, known)
        if self.position == TEMPLATE:
            require(
                self.m is None, "optimizer.m", self.m, "null: with position=template the template says it"
            )
        else:
            require(self.m is not None and self.m >= 1, "optimizer.m", self.m, "at least 1")
        require(self.init in INITS, "optimizer.init", self.init, f"one of {', '.join(INITS)}")
        longest = self.max_text_tokens
        require(
            longest is None or longest >= 1,
            "optimizer.max_text_tokens",
            longest,
            "at least 1, or null for all",
        )
        if (rate := self.torch_optimizer.get("lr")) is not None:
            check_value("optimizer.torch_optimizer.lr", rate, float)
            require(rate > 0, "optimizer.torch_optimizer.lr", rate, "a number above 0")
        for name, term in self.objective.items():
            weight, key = term.get("weight", 1.0), f"optimizer.objective.{name}.weight"
            check_value(key, weight, float)
            require(weight >= 0, key, weight, "at least 0 (0 drops the term)")
        self.steps_of([torch.nn.Parameter(torch.zeros(1))], 1)

    def steps_of(
        self, parameters: list[Tensor], total_steps: int, spread: float = 1.0
    ) -> tuple[Optimizer, LRScheduler | None]:
        """torch's optimiser of these parameters, and its schedule over so many steps.

        Args:
            parameters: what is tuned.
            total_steps: of the schedule.
            spread: the standard deviation of the model's embedding values, the learning rate's unit with `spread_lr`.

        Raises:
            UsageError: no optimiser or schedule of torch, or arguments that it does not take.
        """
        own = dict(self.torch_optimizer)
        if self.spread_lr and "lr" in own:
            own["lr"] *= spread
        optimizer = _made("optimizer.torch_optimizer", own, parameters)
        usable = isinstance(optimizer, Optimizer)
        given = self.torch_optimizer["_target_"]
        require(usable, "optimizer.torch_optimizer._target_", given, "an optimiser, as torch.optim.AdamW")
        if self.schedule is None:
            return optimizer, None
        more = {}
        if "total_steps" in signature(_target("optimizer.schedule", self.schedule)).parameters:
            more = {"total_steps": self.schedule.get("total_steps", total_steps)}
        schedule = _made("optimizer.schedule", dict(self.schedule), optimizer, **more)
        usable, given = isinstance(schedule, LRScheduler), self.schedule["_target_"]
        require(
            usable, "optimizer.schedule._target_", given, "a schedule, as torch.optim.lr_scheduler.LinearLR"
        )
        return optimizer, schedule


def _target(key: str, node: Node) -> Any:
    """What a node names. Raises UsageError where it names nothing."""
    try:
        return get_object(node["_target_"])
    except KeyError as error:
        raise UsageError(f"{key} has no _target_: name a class, as torch.optim.Adam") from error
    except Exception as error:  # Hydra gives ImportError, ValueError or its own, as the name goes
        raise UsageError(f"{key}._target_={node['_target_']!r} cannot be found: {error}") from error


def _made(key: str, node: Node, *arguments: Any, **more: Any) -> Any:
    _target(key, node)
    try:
        return instantiate(dict(node), *arguments, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        raise UsageError(f"{key} cannot be made from these values: {error.__cause__ or error}") from error
