"""Captions by every discrete optimiser, at equal numbers of objective evaluations.

    python benchmarks/optimizers.py $FUSE_REPRO_DATA/coco/images.jsonl

Every photograph is captioned by all optimisers before the next one, so that a run cut short (--cpu-minutes) still
compares them over the same photographs; the same command goes on where it stopped, and tries failed ones again. CPU
seconds are those of the last command.
"""

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _common import config, report
from omegaconf import OmegaConf

from fuse_repro.metrics.captions import MetricsUnavailable, caption_metrics
from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.runners.assemble import fit_adapters, load_models
from fuse_repro.runners.build import build, build_data, build_fit
from fuse_repro.runners.objective import PRIMARY, build_objective
from fuse_repro.runners.search.module import PromptSearchModule
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.weights import cache_folder

TOKENS = 8
STEPS = 8  # that GCG divides the budget into; AutoDAN takes one for each token
RESTARTS = 4
ARMS = {
    "autodan": ["optimizer=autodan", f"optimizer.max_new_tokens={TOKENS}", "optimizer.stop=never"],
    "gcg": ["optimizer=gcg"],
    "pez": ["optimizer=pez"],
    "random_l0": ["optimizer=random_l0"],
    "random_l2": ["optimizer=random_l2"],
}
AGAINST = "random_l0"


def settings(arm: str, evaluations: int) -> list[str]:
    """The overrides of an arm whose budget is that many evaluations."""
    found = [*ARMS[arm], f"optimizer.max_evaluations={evaluations}"]
    if arm == "autodan":
        candidates = -(-evaluations // (2 * TOKENS - 1))  # one prompt at the first step, two later
        found += ["optimizer.beam=2", f"optimizer.candidates={candidates}"]
    else:
        found += [f"optimizer.tokens={TOKENS}"]
    if arm == "gcg":
        candidates = max(1, evaluations // STEPS - 1)  # of ten times as many substitutions, as in the paper
        found += [
            f"optimizer.candidates={candidates}",
            f"optimizer.top_k={max(2, 10 * candidates // TOKENS)}",
        ]
    if arm.startswith("random"):
        found += ["optimizer.candidates=4"]
    if arm == "pez":
        found += [f"optimizer.restarts={RESTARTS}"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--limit", type=int, default=40, help="photographs at the most")
    parser.add_argument("--skip", type=int, default=0, help="photographs to leave out first")
    parser.add_argument("--evaluations", type=int, default=128)
    parser.add_argument(
        "--cpu-minutes", type=float, default=float("inf"), help="begin no photograph after that"
    )
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--set", nargs="*", default=[], help="further overrides, of all arms")
    parser.add_argument("--output", type=Path, default=Path("outputs/optimizers"))
    parser.add_argument("--name", default="optimizers", help="of the file in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    common = ["experiment=caption", "trainer=cpu", f"dataset.path={options.photographs}", *options.set]
    configs = {
        arm: config(*common, *settings(arm, options.evaluations), *options.set) for arm in options.arms
    }
    first = configs[options.arms[0]]
    models = load_models(first, torch.device("cpu"))
    words = build(first.corpus).words()
    adapters = fit_adapters(models, build_fit(first.adapter), words, cache_folder(first.cache_dir))
    objective = build_objective(first.objective, models, adapters)
    runs, seconds = {}, {arm: {} for arm in options.arms}
    for arm, composed in configs.items():
        directory = RunDirectory(options.output / arm, OmegaConf.to_container(composed, resolve=True))
        weights = {role: model.weights.files for role, model in models.items() if model.weights is not None}
        directory.open(device="cpu", weights=weights)
        optimizer = build(composed.optimizer)
        prefix = composed.runner.prefix
        runs[arm] = PromptSearchModule(models[PRIMARY], models, objective, optimizer, prefix, directory)
    known = {arm: module.directory.known() for arm, module in runs.items()}
    items = build_data(first.dataset).items[options.skip : options.skip + options.limit]
    for item in items:
        if time.process_time() > 60 * options.cpu_minutes:
            break
        for arm, module in runs.items():
            if item.id in known[arm]:
                continue
            begun = time.process_time()
            module.predict_step(item, 0)
            seconds[arm][item.id] = time.process_time() - begun
        print(f"{item.id}: {time.process_time():.0f} CPU seconds so far", flush=True)
    report(options.name, figures(options, runs, seconds))


def figures(options: argparse.Namespace, runs: dict[str, Any], seconds: dict[str, dict]) -> dict[str, Any]:
    """The table, over the photographs that all arms have done."""
    records = {arm: {row["id"]: row for row in run.directory.records()} for arm, run in runs.items()}
    shared = [
        item
        for item in records[options.arms[0]]
        if all(rows.get(item, {}).get("status") == "done" for rows in records.values())
    ]
    table = {}
    for arm, rows in records.items():
        own = [rows[item] for item in shared]
        table[arm] = {
            "evaluations": fmean(row["evaluations"] for row in own),
            "gradients": fmean(row["gradients"] for row in own),
            "objective": fmean(row["objective"] for row in own),
            **{name: fmean(row["terms"][name]["raw"] for row in own) for name in own[0]["terms"]},
            "CIDEr": cider(own),
            "cpu_seconds": fmean(seconds[arm].values()) if seconds[arm] else None,
        }
        if arm != AGAINST and AGAINST in records and len(shared) > 1:
            pairs = ([rows_of[item]["objective"] for item in shared] for rows_of in (rows, records[AGAINST]))
            table[arm][f"objective_minus_{AGAINST}"] = vars(paired_difference(*pairs))
    budget = {arm: settings(arm, options.evaluations) for arm in runs}
    return {"photographs": len(shared), "settings": budget, "arms": table}


def cider(rows: list[dict[str, Any]]) -> float | None:
    """CIDEr in percent of the captions without their prefix; None where it cannot be computed."""
    try:
        captions = {row["id"]: row["text"] for row in rows}
        found = caption_metrics(
            captions, {row["id"]: row["references"] for row in rows}, "strip", rows[0]["prefix"]
        )
    except MetricsUnavailable:
        return None
    return float(found["CIDEr"])


if __name__ == "__main__":
    main()
