"""`experiment=move`: the user's own soft prompt, moved to another model, with what to expect of it there."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fuse_repro.adapters import RelativePromptTransfer
from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import AFTER_BOS, SoftPrompt, for_model, peft_place, save_peft
from fuse_repro.prompts.nearest import NearRow, lonely
from fuse_repro.runners.assemble import corpus_words, weight_files
from fuse_repro.runners.build import build, build_data, build_fit
from fuse_repro.runners.trainer import TEST, build_trainer
from fuse_repro.runners.transfer.arrival import words_arrive
from fuse_repro.runners.transfer.checks import check_runner
from fuse_repro.runners.transfer.choosing import chosen_map, fit_in_use
from fuse_repro.runners.transfer.exam_module import Asked, PromptExamModule
from fuse_repro.runners.transfer.felt import felt
from fuse_repro.runners.transfer.given import comparable, fitting, read_prompts
from fuse_repro.runners.transfer.methods import fit_map
from fuse_repro.runners.transfer.moving import moved, moved_rows
from fuse_repro.runners.transfer.results import summary
from fuse_repro.runners.transfer.terms import (
    check_objective,
    match_weights,
    objective_of,
    objective_terms,
    roles_of,
)
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.tasks import Exams
from fuse_repro.weights import cache_folder

ROW = "moved row"


class MoveSettings:
    """What conf/runner/move.yaml holds."""

    sources: Sequence[str]
    target: str
    force: bool
    expect: bool
    base_model: str | None
    split: str
    calibrated: bool
    bos: str


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Read the prompts, move them, write the moved one, and say what became of every row.

    Raises:
        UsageError: a prompt, a model, a map or data that cannot be used.
    """
    runner = config.runner
    check_runner(config, MoveSettings)
    fit = build_fit(config.adapter)
    check_objective("adapter", fit, objective_terms(config))
    weights = match_weights(config)
    read = read_prompts(config.prompt, runner.sources)
    data = build_data(config.dataset) if OmegaConf.select(config, "dataset._target_") else None
    if data is not None:
        tasks = data.tasks()  # mistakes in the data are found before a model is loaded
    words = corpus_words(config)
    trainer = build_trainer(config.trainer, TEST, root=directory.path)
    device = trainer.strategy.root_device
    models = {role: build(config.models[role]).to(device) for role in roles_of(config)}
    directory.open(device=str(device), weights=weight_files(models))
    sources, target = [models[role] for role in runner.sources], models[runner.target]
    asked_tasks: list[PromptTask] = []
    if data is not None:
        asked_tasks = comparable(tasks, [*sources, target])
        data.ask_only(asked_tasks)
    prompts = [fitting(prompt, lm, runner.force) for prompt, lm in zip(read, sources, strict=True)]
    cache = cache_folder(config.cache_dir)
    with torch.no_grad():
        several = fit_map(fit, sources, target, words, cache, weights)
        fitted, choice = chosen_map(several, sources[0], prompts[0], asked_tasks, Exams())
        searches = isinstance(fitted, RelativePromptTransfer)
        objective = objective_of(config, models, fitted) if searches else None
        vectors, losses = moved(fitted, [prompt.embeddings for prompt in prompts], objective)
    prompt = for_model(target, vectors, peft_place(target, prompts[0].position, runner.bos))
    folder = Path(config.output) if config.output else directory.path / "prompt"
    save_peft(prompt, folder, target, runner.base_model)
    judged = fit_in_use(fit, several, choice)
    expected = (
        words_arrive(judged, sources, target, words, cache, weights, config.seed) if runner.expect else None
    )
    least = lonely(target)
    _record_rows(directory, (sources[0], prompts[0]), (target, prompt), losses, least)
    found: dict[str, Any] = {
        "runner": "move",
        "output": str(folder),
        "sources": [model.name for model in sources],
        "target": target.name,
        "position": prompt.position,
        "felt": _felt(target, prompt),
        "arrival": None if expected is None else asdict(expected),
        "lonely": least,
    }
    if choice is not None:
        found["choice"] = choice.record()
    if data is not None:
        asked: dict[str, Asked] = {"before": (sources[0], prompts[0]), "after": (target, prompt)}
        module = PromptExamModule(
            lambda task: asked, [*sources, target], runner.split, directory, runner.calibrated
        )
        trainer.test(module, datamodule=data, verbose=False)
        told = [record for record in directory.records() if "method" in record]
        found["accuracy"] = summary(told, runner.split)["methods"]
    return found


def _felt(target: FrozenModel, prompt: SoftPrompt) -> dict[str, float]:
    """Place -> how much the target feels the prompt there, in nats: its own place, and the others in front."""
    places = [prompt.position]
    if prompt.position in ("prefix", AFTER_BOS) and target.tokenizer.prefix_ids:
        places = ["prefix", AFTER_BOS]
    return {place: felt(target, replace(prompt, position=place)) for place in places}


def _record_rows(
    directory: RunDirectory,
    before: tuple[FrozenModel, SoftPrompt],
    after: tuple[FrozenModel, SoftPrompt],
    losses: Tensor | None,
    least: float,
) -> None:
    """One record per row: the words that it lies near, in both models, its length, and whether it is far from all.

    A row is far where its cosine to the nearest word is below `least`.
    """
    known = directory.known()
    for place, row in enumerate(moved_rows(before, after, losses, least)):
        key = f"row/{place}"
        if key in known:
            continue
        directory.append(
            {
                "id": key,
                "kind": ROW,
                "status": "done",
                "row": place,
                "before": _row(row.before),
                "after": _row(row.after),
                "far": row.far,
                "matching_loss": row.matching_loss,
            }
        )


def _row(row: NearRow) -> dict[str, Any]:
    return {"words": [[text, round(cosine, 4)] for text, cosine in row.words], "length": round(row.length, 4)}
