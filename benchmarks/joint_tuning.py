"""What it costs to tune prompts of several relations and seeds one by one, and together in one forward pass.

    python benchmarks/joint_tuning.py [--together 1 3 9] [--relations P30 P38 P17] [--seeds 0 1 2] [--steps 80]

SmolLM2-135M, `dataset=facts`, `optimizer=optiprompt_laptop`, one thread. Every way tunes the same prompts into an empty
cache; they take turns `--rounds` times. The figures are CPU seconds of this process, the ratio of the medians to one by
one, precision@1 of the prompts on test, and how far their vectors are from those tuned one by one.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _common import config, report

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.build import build
from fuse_repro.runners.transfer.prompts import TunedPrompts
from fuse_repro.runners.transfer.settings import PromptTuning
from fuse_repro.runs.observers import Observers
from fuse_repro.tasks import answerable, evaluate

Pairs = Sequence[tuple[PromptTask, int]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--together", nargs="+", type=int, default=[1, 3, 9])
    parser.add_argument("--relations", nargs="+", default=["P30", "P38", "P17"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    composed = config("experiment=transfer", f"dataset.relations=[{','.join(chosen.relations)}]")
    lm: FrozenModel = build(composed.models.source)
    tasks = [answerable(task, [lm]) for task in build(composed.dataset).tasks()]
    pairs = [(task, seed) for task in tasks for seed in chosen.seeds]
    settings = replace(build(composed.optimizer), max_steps=chosen.steps)
    costs: dict[int, list[float]] = {size: [] for size in chosen.together}
    prompts: dict[int, list[torch.Tensor]] = {}
    for _ in range(chosen.rounds):
        for size in chosen.together:
            seconds, prompts[size] = tuned(lm, pairs, replace(settings, together=size), composed.trainer)
            costs[size].append(seconds)
    first = chosen.together[0]
    figures: dict[str, Any] = {
        "prompts": len(pairs),
        "steps": chosen.steps,
        "batch_size": settings.batch_size,
    }
    for size in chosen.together:
        scores = [
            evaluate(lm, prompt, task).accuracy
            for prompt, (task, _) in zip(prompts[size], pairs, strict=True)
        ]
        apart = [
            float((one - other).abs().max()) for one, other in zip(prompts[size], prompts[first], strict=True)
        ]
        figures[f"together={size}"] = {
            "cpu_seconds": costs[size],
            "times_faster": statistics.median(costs[first]) / statistics.median(costs[size]),
            "precision_at_1": round(fmean(scores), 4),
            "largest_difference_of_a_value": max(apart),
        }
    report("joint_tuning", figures)


def tuned(
    lm: FrozenModel, pairs: Pairs, settings: PromptTuning, trainer: Any
) -> tuple[float, list[torch.Tensor]]:
    """CPU seconds for all prompts, and the prompts."""
    with tempfile.TemporaryDirectory() as cache:
        table = TunedPrompts(settings, Path(cache), Observers(), trainer)
        begun = time.process_time()
        table.prepare((lm, task, seed) for task, seed in pairs)
        seconds = time.process_time() - begun
        return seconds, [table.of(lm, task, seed).embeddings for task, seed in pairs]


if __name__ == "__main__":
    main()
