"""Soft prompts tuned on source models, moved to a target model by every method asked for, and evaluated there."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy
import torch
from omegaconf import DictConfig
from torch import Tensor

from fuse_repro.data.prompt_task import SPLITS, PromptTask
from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import bar
from fuse_repro.prompts import SoftPrompt, for_model, normal_init
from fuse_repro.runners.assemble import Fit, build, build_fit, build_trainer, map_class
from fuse_repro.runners.transfer.trace import dev_accuracy, matching_trace
from fuse_repro.runners.transfer.tuning import TuningSettings, tuned_prompt
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.runs.observers import Observers
from fuse_repro.tasks import Evaluation, Exams, answerable
from fuse_repro.weights import cache_folder

BASELINES = ("random", "manual", "direct_tuning", "source_manual", "source_tuned")


@dataclass(frozen=True)
class Setting:
    """What every cell of the table shares."""

    sources: Sequence[FrozenModel]
    target: FrozenModel
    tuning: TuningSettings
    cache: Path
    observers: Observers
    trace_accuracy: bool
    exams: Exams = field(default_factory=Exams)

    def tuned(self, model: FrozenModel, task: PromptTask, seed: int) -> SoftPrompt:
        """The model's own prompt for a task; tuned once, then found in the cache."""
        watch = partial(self.observers.series, f"tuning/{model.name}/{task.name}/{seed}")
        return tuned_prompt(model, task, replace(self.tuning, seed=seed), self.cache, watch)


Notes = dict[str, Any]
Method = Callable[[PromptTask, int], tuple[FrozenModel, SoftPrompt | str, Notes]]
Ask = Callable[[FrozenModel, SoftPrompt | str, PromptTask], Evaluation]
Move = Callable[[PromptTask, Sequence[Tensor]], tuple[Tensor, Notes]]


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Fill the table tasks x seeds x methods with precision@1 on one split, the test split unless told.

    A cell that cannot be filled becomes a failed record and the others go on; one that has a record already
    is passed over. Raises UsageError for settings or data that cannot be used, and where every cell failed.
    """
    settings = {name: build_fit(node) for name, node in config.methods.items()}
    tuning: TuningSettings = build(config.tuning)
    _check(config, settings)
    given = build(config.task).tasks()
    device = build_trainer(config.trainer).strategy.root_device
    roles = [*dict.fromkeys([*config.runner.sources, config.runner.target])]
    models = {role: build(config.models[role]).to(device) for role in roles}
    files = {role: model.weights.files for role, model in models.items() if model.weights is not None}
    directory.open(device=str(device), weights=files)
    sources = [models[role] for role in config.runner.sources]
    tasks = _comparable(given, list(models.values()), directory)
    cache, trace = cache_folder(config.cache_dir), config.runner.trace_accuracy
    setting = Setting(sources, models[config.runner.target], tuning, cache, directory.observers, trace)
    methods = {name: _baseline(name, setting) for name in config.runner.baselines}
    words = build(config.corpus).words()
    methods |= {name: _transfer(chosen, setting, words) for name, chosen in settings.items()}
    begun = time.perf_counter()
    ask = partial(setting.exams.ask, split=config.runner.split)
    _fill(directory, tasks, list(config.runner.seeds), methods, ask)
    return _results(directory.records(), config.runner.split, time.perf_counter() - begun)


def _check(config: DictConfig, settings: Mapping[str, Any]) -> None:
    runner = config.runner
    unknown = sorted(set(runner.baselines) - set(BASELINES))
    require(not unknown, "runner.baselines", unknown, f"any of {', '.join(BASELINES)}")
    require(runner.split in SPLITS, "runner.split", runner.split, f"one of {', '.join(SPLITS)}")
    require(bool(runner.seeds), "runner.seeds", list(runner.seeds), "at least one seed")
    for key, roles in (("sources", runner.sources), ("target", [runner.target])):
        missing = sorted(set(roles) - set(config.models))
        require(not missing, f"runner.{key}", missing, f"roles in models: {', '.join(config.models)}")
    require(bool(runner.sources), "runner.sources", [], "at least one role of models")
    clash = sorted(set(runner.baselines) & set(settings))
    require(not clash, "methods", clash, "names that are no baselines")
    require(bool(settings or runner.baselines), "methods", {}, "at least one method or baseline")


def _comparable(
    tasks: Sequence[PromptTask], models: Sequence[FrozenModel], directory: RunDirectory
) -> list[PromptTask]:
    """The tasks with the answers that are one token in every model, so that all are asked the same.

    A task that has none left becomes a failed record.
    """
    known = directory.known()
    kept = []
    for task in tasks:
        try:
            kept.append(answerable(task, models))
        except UsageError as error:
            if task.name not in known:
                row = {"id": task.name, "task": task.name, "method": None, "status": "failed"}
                directory.append(row | {"error": first_line(error)})
    return kept


def _baseline(name: str, setting: Setting) -> Method:
    """A method without transfer: what reads the prompt, and the prompt."""

    def prompt(task: PromptTask, seed: int) -> tuple[FrozenModel, SoftPrompt | str, Notes]:
        target, tuning = setting.target, setting.tuning
        if name == "manual":
            return target, task.template, {}
        if name == "source_manual":
            return setting.sources[0], task.template, {}
        if name == "direct_tuning":
            return target, setting.tuned(target, task, seed), {}
        if name == "source_tuned":
            return setting.sources[0], setting.tuned(setting.sources[0], task, seed), {}
        drawn = normal_init(target, tuning.m, torch.Generator().manual_seed(seed))
        return target, for_model(target, drawn, tuning.position), {}

    return prompt


def _transfer(chosen: Fit, setting: Setting, words: tuple[str, ...]) -> Method:
    """A transfer by the map that `chosen` fits, once, when the first prompt is to be moved."""
    fitted: list[Move] = []

    def prompt(task: PromptTask, seed: int) -> tuple[FrozenModel, SoftPrompt, Notes]:
        if not fitted:
            fitted.append(_fit(chosen, setting, words))
        own = [setting.tuned(source, task, seed).embeddings for source in setting.sources]
        with torch.no_grad():
            moved, notes = fitted[0](task, own)
        return setting.target, for_model(setting.target, moved, setting.tuning.position), notes

    return prompt


def _fit(chosen: Fit, setting: Setting, words: tuple[str, ...]) -> Move:
    """The map from the sources' prompts to the target's, with notes of how well they match."""
    sources, target = setting.sources, setting.target
    kind = map_class(chosen)
    if getattr(kind, "takes_several", False):
        many: Any = chosen(sources, target, words, cache_dir=setting.cache)

        def move(task: PromptTask, prompts: Sequence[Tensor]) -> tuple[Tensor, Notes]:
            rating = dev_accuracy(target, task, setting.tuning.position, setting.exams)
            result = many.solve(prompts, rating if setting.trace_accuracy else None)
            return result.prompt, {"matching": matching_trace(result)}

        return move
    if len(sources) > 1:
        raise UsageError(
            f"{kind.__name__} moves prompts from one source only, and runner.sources has {len(sources)}: "
            "use a relative method, or one source"
        )
    single = chosen(sources[0], target, words, cache_dir=setting.cache)
    return lambda task, prompts: (single.transfer(prompts[0]), {})


def _fill(
    directory: RunDirectory,
    tasks: Sequence[PromptTask],
    seeds: Sequence[int],
    methods: Mapping[str, Method],
    ask: Ask,
) -> None:
    known = directory.known()
    cells = [(task, seed, name) for task in tasks for seed in seeds for name in methods]
    with bar("transferring prompts", len(cells)) as advance:
        for task, seed, name in cells:
            key = f"{task.name}/{seed}/{name}"
            if key not in known:
                cell = {"id": key, "task": task.name, "label": task.label, "seed": seed, "method": name}
                directory.append(cell | _cell(methods[name], ask, task, seed))
            advance(1)


def _cell(method: Method, ask: Ask, task: PromptTask, seed: int) -> dict[str, Any]:
    try:
        model, prompt, notes = method(task, seed)
        found = ask(model, prompt, task)
    except UsageError as error:
        return {"status": "failed", "error": first_line(error)}
    return {
        "status": "done",
        "model": model.name,
        "accuracy": found.accuracy,
        "loss": found.loss,
        "items": found.items,
        "candidates": found.candidates,
        "dropped": dict(task.dropped),
        **notes,
    }


def _results(records: list[dict[str, Any]], split: str, seconds: float) -> dict[str, Any]:
    """Per method: mean precision@1 over tasks and seeds with a bootstrap interval over both."""
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise UsageError(f"no cell of the table could be filled; the first error: {records[0]['error']}")
    names = dict.fromkeys(record["method"] for record in done)
    return {
        "runner": "transfer",
        "split": split,
        "items": {"done": len(done), "failed": len(records) - len(done)},
        "methods": {name: _summary([r for r in done if r["method"] == name]) for name in names},
        "timing": {"seconds": seconds},
    }


def _summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over relations, each counting once, and its 95% interval (relations and seeds resampled)."""
    by_task: dict[str, list[float]] = {}
    for cell in cells:
        by_task.setdefault(cell["task"], []).append(cell["accuracy"])
    table = list(by_task.values())
    draw = numpy.random.default_rng(0)
    means = [
        fmean(
            draw.choice(table[row], len(table[row])).mean()
            for row in draw.integers(len(table), size=len(table))
        )
        for _ in range(2000)
    ]
    low, high = numpy.quantile(means, [0.025, 0.975])
    return {
        "mean_over_relations": fmean(fmean(values) for values in table),
        "low": float(low),
        "high": float(high),
        "tasks": {task: fmean(values) for task, values in by_task.items()},
    }
