"""Soft prompts tuned on source models, moved to a target model by every method asked for, and tested there."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from fuse_repro.data.prompt_task import SPLITS, PromptTask
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import bar
from fuse_repro.runners.assemble import corpus_words, weight_files
from fuse_repro.runners.build import build, build_data, build_fit
from fuse_repro.runners.shards import Merging, shard_note
from fuse_repro.runners.trainer import FIT, TEST, build_trainer
from fuse_repro.runners.transfer.methods import BASELINES, Baseline, Method, Moved, Setting
from fuse_repro.runners.transfer.module import PromptTransferModule, cell_id
from fuse_repro.runners.transfer.prompts import TunedPrompts
from fuse_repro.runners.transfer.results import summary
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.taught import Taught
from fuse_repro.runners.transfer.terms import (
    check_objective,
    match_weights,
    objective_of,
    objective_terms,
    roles_of,
)
from fuse_repro.runners.transfer.trainer import check_lengths, check_together
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.runs.provenance import check_seed
from fuse_repro.tasks import Exams, answerable
from fuse_repro.weights import cache_folder


class TransferSettings:
    """What conf/runner/transfer.yaml holds."""

    sources: Sequence[str]
    target: str
    seeds: Sequence[int]
    baselines: Sequence[str]
    also: Sequence[str]
    taught: Mapping[str, str]
    teaching_steps: int
    split: str
    calibrated: bool
    trace_accuracy: bool


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Fill the table tasks x seeds x methods with precision@1 on one split, the test split unless told.

    Raises UsageError for settings or data that cannot be used, and where every cell failed.
    """
    check_settings("runner", config.runner, TransferSettings)
    fits = {name: build_fit(node) for name, node in config.methods.items()}
    settings: PromptTuning = build(config.optimizer)
    check_config(config, fits)
    check_lengths(config.trainer)
    check_together(settings, config.trainer)
    trainer = build_trainer(config.trainer, FIT, TEST, root=directory.path)
    data: PromptTaskData = build_data(config.dataset)
    every = data.tasks()
    given, shard = data.own(every), shard_note(config, data.division, [task.name for task in every])
    words = corpus_words(config) if fits else ()
    device = trainer.strategy.root_device
    roles = dict.fromkeys([*roles_of(config), *config.runner.also])
    models = {role: build(config.models[role]).to(device) for role in roles}
    directory.open(device=str(device), weights=weight_files(models), shard=shard)
    runner = config.runner
    asked = [models[role] for role in dict.fromkeys([*runner.sources, runner.target, *runner.also])]
    tasks = _comparable(given, asked, directory)
    setting = _setting(config, settings, models, words, directory)
    methods: dict[str, Method] = {name: Baseline(name, setting) for name in config.runner.baselines}
    moves: dict[str, Moved] = {}
    for name, fit in fits.items():
        methods[name] = moves[name] = Moved(
            fit, lambda fitted: objective_of(config, models, fitted), match_weights(config), setting
        )
    for name, method in runner.taught.items():
        methods[name] = Taught(moves[method], setting, runner.teaching_steps, config.trainer)
    module = PromptTransferModule(models, methods, setting, list(runner.seeds), runner.split, directory)
    directory.expect(len(given) - len(tasks) + len(tasks) * len(methods) * len(runner.seeds))
    begun = time.perf_counter()
    if tasks:
        data.ask_only(tasks)
        module.tune(tasks)
        with bar("evaluating prompts", module.open_cells(tasks)) as module.advance:
            trainer.test(module, datamodule=data, verbose=False)
    return module.results() | {"timing": {"seconds": time.perf_counter() - begun}}


def record_ids(config: DictConfig, task: str) -> list[list[str]]:
    """The ids of the records of a task: one where no answer is left to ask for, else one of every cell."""
    methods = [*config.runner.baselines, *config.methods, *config.runner.taught]
    return [[task], [cell_id(task, seed, name) for seed in config.runner.seeds for name in methods]]


MERGING = Merging(
    record_ids=record_ids,
    results=lambda config, records: summary(records, config.runner.split),
    timing=lambda parts: {"seconds": sum(part["seconds"] for part in parts)},
)


def _setting(
    config: DictConfig,
    settings: PromptTuning,
    models: Mapping[str, FrozenModel],
    words: tuple[str, ...],
    directory: RunDirectory,
) -> Setting:
    cache = cache_folder(config.cache_dir)
    return Setting(
        sources={role: models[role] for role in config.runner.sources},
        target=models[config.runner.target],
        tuned=TunedPrompts(settings, cache, directory.observers, config.trainer),
        words=words,
        cache=cache,
        trace_accuracy=config.runner.trace_accuracy,
        exams=Exams(config.runner.calibrated),
    )


def check_config(config: DictConfig, fits: Mapping[str, Any]) -> None:
    """Everything that can be checked of the runner and the objective before a model is loaded.

    Args:
        config: of the run.
        fits: name -> fit, of its methods.

    Raises:
        UsageError: a value that cannot be used.
    """
    runner = config.runner
    unknown = sorted(set(runner.baselines) - set(BASELINES))
    require(not unknown, "runner.baselines", unknown, f"any of {', '.join(BASELINES)}")
    require(runner.split in SPLITS, "runner.split", runner.split, f"one of {', '.join(SPLITS)}")
    require(bool(runner.seeds), "runner.seeds", list(runner.seeds), "at least one seed")
    for seed in runner.seeds:
        check_seed("runner.seeds", seed)
    require(bool(runner.sources), "runner.sources", [], "at least one role of models")
    for key, roles in (("sources", runner.sources), ("target", [runner.target]), ("also", runner.also)):
        missing = sorted(set(roles) - set(config.models))
        require(not missing, f"runner.{key}", missing, f"roles in models: {', '.join(config.models)}")
    clash = sorted(set(runner.baselines) & set(fits))
    require(not clash, "methods", clash, "names that are no baselines")
    for name, method in runner.taught.items():
        new = name not in (*runner.baselines, *fits)
        require(new, "runner.taught", name, "another name than that of a baseline or of one of methods")
        require(method in fits, f"runner.taught.{name}", method, f"one of methods: {', '.join(fits)}")
    require(runner.teaching_steps >= 1, "runner.teaching_steps", runner.teaching_steps, "at least 1")
    require(bool(fits or runner.baselines), "methods", {}, "at least one method or baseline")
    terms = objective_terms(config)
    missing = sorted({term.model for term in terms.values()} - set(config.models))
    require(not missing, "objective model", missing, f"roles in models: {', '.join(config.models)}")
    match_weights(config)
    for name, fit in fits.items():
        check_objective(f"methods.{name}", fit, terms)


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
