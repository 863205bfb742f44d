"""Mini masked language models: what they know, whether they share relative structure, and whether prompts transfer.

    python benchmarks/mini_lms.py [--variants own start kept] [--seeds 0 1 2]

Per variant, two models (mini_a, mini_b; with mini_c for `kept`) are trained, if the cache does not hold them.
`recall` is the share of 150 held-out shared words that arrive at their own token: without noise, and with that of
experiment=mini_lms.
Then precision@1 on the test split of dataset=facts_common, averaged over relations and seeds: the tuned prompt on its
own model, moved to its own model (`self`), and moved to mini_b by several maps; `both` is from two sources.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from _common import config, report

from fuse_repro.adapters import ProcrustesMap, RandomMap, RelativePromptTransfer
from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import normal_init
from fuse_repro.runners.build import build, build_data
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runners.transfer.tuning import tuned_prompt
from fuse_repro.tasks import answerable, evaluate
from fuse_repro.weights import cache_folder

VARIANTS: dict[str, list[str]] = {
    "own": ["settings.embeddings=own", "teacher=null"],
    "start": ["settings.embeddings=start"],
    "kept": [],
}
ROLES = ("source", "target", "second")
CACHE = cache_folder()
NOISE = 2.0
CALIBRATED = partial(RelativePromptTransfer.fit, cache_dir=CACHE, calibrate=True, holdout_noise=NOISE)
PAPER = partial(RelativePromptTransfer.fit, centre=False, ridge=0.0, rescale="after")
PLAIN = partial(RelativePromptTransfer.fit, ridge=0.0)
Move = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
Moved = tuple[FrozenModel, Move]


def load(variant: str, roles: Sequence[str]) -> tuple[dict[str, FrozenModel], Any]:
    """The models of these roles, trained now or found in the cache, and the whole config."""
    changes = [f"models.{role}.{change}" for role in roles for change in VARIANTS[variant]]
    composed = config("experiment=mini_lms", *changes)
    return {role: build(composed.models[role]) for role in roles}, composed


def recall(source: FrozenModel, target: FrozenModel) -> dict[str, float]:
    best = {
        name: CALIBRATED(source, target, holdout_noise=noise).calibration[0]
        for name, noise in (("words", 0.0), ("noisy_words", NOISE))
    }
    return {name: round(row.recall, 3) for name, row in best.items()}


def moves(models: Mapping[str, FrozenModel]) -> dict[str, Moved]:
    """Name -> the model that reads the moved prompt, and how the sources' prompts are moved to it."""
    source, target = models["source"], models["target"]
    table: dict[str, Moved] = {}

    def add(name: str, roles: Sequence[str], reader: FrozenModel, fitted: Any) -> None:
        many = hasattr(fitted, "transfer_all")
        table[name] = (
            reader,
            lambda own: (
                fitted.transfer_all([own[role] for role in roles]) if many else fitted.transfer(own[roles[0]])
            ),
        )

    add("self", ["source"], source, PLAIN(source, source))
    add("self, calibrated", ["source"], source, CALIBRATED(source, source))
    add("relative", ["source"], target, CALIBRATED(source, target))
    add("relative, paper", ["source"], target, PAPER(source, target))
    add("procrustes", ["source"], target, ProcrustesMap.fit(source, target))
    add("random map", ["source"], target, RandomMap.fit(source, target))
    if "second" in models:
        second = models["second"]
        add("relative, second", ["second"], target, CALIBRATED(second, target))
        add("relative, both", ["source", "second"], target, CALIBRATED([source, second], target))
    return table


def measure(
    models: Mapping[str, FrozenModel], task: PromptTask, tuning: PromptTuning, table: Mapping[str, Moved]
) -> dict[str, float]:
    """Precision@1 of every column, for one task and one tuning seed."""
    tuned = {
        role: tuned_prompt(model, task, tuning, CACHE) for role, model in models.items() if role != "target"
    }
    own = {role: prompt.embeddings for role, prompt in tuned.items()}
    target = models["target"]
    drawn = normal_init(target, tuning.m, torch.Generator().manual_seed(tuning.seed))
    row = {f"tuned, {role}": evaluate(models[role], prompt, task).accuracy for role, prompt in tuned.items()}
    row |= {
        f"manual, {role}": evaluate(model, task.template, task).accuracy for role, model in models.items()
    }
    row["random prompt"] = evaluate(target, drawn, task).accuracy
    with torch.no_grad():
        row |= {name: evaluate(reader, move(own), task).accuracy for name, (reader, move) in table.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"seeds": arguments.seeds}
    for variant in arguments.variants:
        models, composed = load(variant, ROLES if variant == "kept" else ROLES[:2])
        tasks = [answerable(task, list(models.values())) for task in build_data(composed.dataset).tasks()]
        table, tuning = moves(models), build(composed.optimizer)
        cells = {
            task.name: [measure(models, task, replace(tuning, seed=seed), table) for seed in arguments.seeds]
            for task in tasks
        }
        tables = {
            name: {column: round(fmean(row[column] for row in rows), 3) for column in rows[0]}
            for name, rows in cells.items()
        }
        columns = next(iter(tables.values()))
        mean = {column: round(fmean(row[column] for row in tables.values()), 3) for column in columns}
        figures[variant] = {
            "recall": recall(models["source"], models["target"]),
            "mean": mean,
            "tasks": tables,
        }
        report("mini_lms", figures)  # after each, since each takes minutes


if __name__ == "__main__":
    main()
