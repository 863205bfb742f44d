"""Text inversion against the clock: this project's refined AutoDAN and GASLITE of TROPT, on the same captions.

    python benchmarks/inversion_race.py $FUSE_REPRO_DATA/coco/karpathy_test_captions.jsonl.gz --python python3.12

Both look for a prompt of 12 tokens whose embedding by MiniLM comes nearest to a caption's, for each caption in turn.
What counts is the cosine of the best prompt so far, by the CPU seconds of each side's one thread. A third arm has
fluency in the objective. TROPT lives in an environment of its own, which is made once; it needs Python 3.12 or newer,
and a package index. Without --python, our arms run alone; with --arms and no name, TROPT does. Records are kept as they
come, and the same command goes on. Records of several processes can be put into one file: --report reads it.

Settings were chosen on captions of COCO's validation split: ours are those below, TROPT's the best of those tried.
"""

import argparse
import gzip
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _common import config, load, report

from fuse_repro.metrics.statistics import paired_difference
from fuse_repro.runners.assemble import fit_adapters, load_models
from fuse_repro.runners.build import build, build_fit
from fuse_repro.runners.objective import build_objective
from fuse_repro.search import Optimizer, PromptProblem
from fuse_repro.weights import cache_folder

AT = (10, 20, 30, 60)  # CPU seconds
TOKENS = 12
SAME = 1e-5  # an objective that no prompt betters, to rounding
TROPT = "tropt==0.1.1"
SETTING = {"n_grad": 20, "n_flip": 12, "n_candidates": 32}
COMMON = ["experiment=invert", "trainer=cpu", "dataset.texts=[none]", "optimizer=autodan_refined"]
ARMS = {
    "ours": [  # without a language model to ask, growth is cheap and many prompts are evaluated at once
        "runner.prefix=''",
        f"optimizer.max_new_tokens={TOKENS}",
        "objective.fluency.weight=0",
        "optimizer.stop=never",
        "optimizer.candidates=32",
        "optimizer.beam=2",
        "optimizer.linearisation.count=4",
        "optimizer.linearisation.joining=2",
        "optimizer.refinement.steps=1000",
        "optimizer.refinement.averaged=16",
        "optimizer.refinement.exchanges=96",
        "optimizer.refinement.insertions=16",
        "optimizer.refinement.moves=16",
        "optimizer.refinement.likely=2",
        "optimizer.refinement.unlike=2",
        "optimizer.refinement.patience=2",
        "optimizer.refinement.regrown=5",
        "optimizer.refinement.regrown_averaged=4",
        "optimizer.refinement.regrown_insertions=24",
    ],
    "ours_fluent": [
        "runner.prefix=A",  # as most captions begin
        f"optimizer.max_new_tokens={TOKENS - 1}",
        "objective.text.weight=24",
        "optimizer.refinement.steps=1000",
    ],
}


class Over(Exception):
    """The time is over, or nothing is left to find."""


class Arm:
    """One way of this project to invert a text.

    Args:
        overrides: of the config.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        composed = config(*COMMON, *overrides)
        self.models = load_models(composed, torch.device("cpu"))
        words, cache = build(composed.corpus).words(), cache_folder(composed.cache_dir)
        adapters = fit_adapters(self.models, build_fit(composed.adapter), words, cache)
        self.objective = build_objective(composed.objective, self.models, adapters)
        self.optimizer: Optimizer = build(composed.optimizer)
        self.prefix = composed.runner.prefix
        self.race("a bird on a tree", 2.0)  # tables are made once, and not on the clock

    def race(self, caption: str, seconds: float) -> list[dict[str, Any]]:
        """Rows of what was the best prompt so far."""
        target = self.objective.terms["text"].target(caption)
        problem = PromptProblem(self.models["lm"], self.objective, self.prefix, {"text": target})
        rows: list[dict[str, Any]] = []
        begun = time.process_time()

        def note(_: Any, given: Any, values: Any) -> None:
            if given[0].slot is not None:
                return
            totals = values.total.detach()
            best, spent = int(totals.argmin()), time.process_time() - begun
            if not rows or float(totals[best]) < rows[-1]["objective"]:
                row = {"seconds": spent, "objective": float(totals[best]), "text": given[0].texts[best]}
                row["cosine"] = 1 - float(values.raw["text"][best].detach())
                if "fluency" in values.raw:
                    row["nats"] = float(values.raw["fluency"][best].detach())
                rows.append(row)
            if spent > seconds or rows[-1]["objective"] < SAME:
                raise Over

        handle = self.objective.register_forward_hook(note)
        try:
            with suppress(Over):
                self.optimizer.search(problem)
        finally:
            handle.remove()
        return rows


@contextmanager
def tropt(
    python: str, folder: Path, model: str, seconds: float
) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """TROPT in an environment of its own; gives rows as `Arm.race` does."""
    if not (folder / "ready").exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", TROPT], check=True)
        (folder / "ready").touch()
    side = str(Path(__file__).parent / "_tropt_side.py")
    command = [str(folder / "bin" / "python"), side, model, str(seconds), str(TOKENS), json.dumps(SETTING)]
    with (
        (folder / "log.txt").open("a") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):

        def race(caption: str) -> list[dict[str, Any]]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(caption) + "\n")
            process.stdin.flush()
            rows = json.loads(process.stdout.readline())
            return [dict(zip(("seconds", "cosine", "text"), row, strict=True)) for row in rows]

        yield race
        assert process.stdin is not None
        process.stdin.close()


def captions(path: Path, skip: int, limit: int) -> list[str]:
    """The first caption of each image."""
    with gzip.open(path, "rt") as lines:
        found = [json.loads(line)["captions"][0] for _, line in zip(range(skip + limit), lines, strict=False)]
    return found[skip:]


def at(rows: Sequence[Mapping[str, Any]], seconds: float) -> Mapping[str, Any]:
    """The best prompt after so many seconds; nothing found is a cosine of 0."""
    return next((row for row in reversed(rows) if row["seconds"] <= seconds), {"cosine": 0.0})


def figures(options: argparse.Namespace, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and paired differences over the captions that both sides have done; the fluent arm's over its own."""
    by_arm: dict[str, dict[str, Any]] = {}
    for record in records:
        by_arm.setdefault(record["arm"], {})[record["caption"]] = record["rows"]
    sides = {arm: rows for arm, rows in by_arm.items() if arm != "ours_fluent"}
    shared = [
        caption for caption in next(iter(sides.values()), {}) if all(caption in r for r in sides.values())
    ]
    own = {arm: shared if arm in sides else list(rows) for arm, rows in by_arm.items()}
    times = [second for second in AT if second < options.seconds] + [options.seconds]

    def values(arm: str, second: float, key: str = "cosine") -> list[float]:
        return [at(by_arm[arm][caption], second)[key] for caption in own[arm]]

    table: dict[str, dict[str, float]] = {
        arm: {"captions": len(done), **{f"cosine_{s:g}s": fmean(values(arm, s)) for s in times}}
        for arm, done in own.items()
        if done
    }
    if "ours_fluent" in table:
        table["ours_fluent"]["nats"] = fmean(values("ours_fluent", times[-1], "nats"))
    found: dict[str, Any] = {
        "tokens": TOKENS,
        "tropt": {"version": TROPT, "gaslite": SETTING},
        "ours": {"common": COMMON, "arms": ARMS},
        "arms": table,
    }
    if {"ours", "tropt"} <= set(sides) and len(shared) > 1:
        found["ours_minus_tropt"] = {
            f"{s:g}s": vars(paired_difference(values("ours", s), values("tropt", s))) for s in times
        }
    prompts: dict[str, dict[str, str]] = {}
    for arm, done in own.items():
        for caption in done:
            prompts.setdefault(caption, {})[arm] = at(by_arm[arm][caption], times[-1])["text"]
    return {**found, "prompts": prompts}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captions", type=Path)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU time, for each arm and caption")
    parser.add_argument("--python", help="Python 3.12 or newer, which makes TROPT's environment")
    parser.add_argument("--environment", type=Path, default=Path("outputs/tropt"), help="where that is")
    parser.add_argument(
        "--arms",
        nargs="*",
        default=list(ARMS),
        choices=list(ARMS),
        help="of ours; none of them runs TROPT alone",
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/inversion_race.jsonl"))
    parser.add_argument("--name", default="inversion_race", help="of the file in benchmarks/results")
    parser.add_argument(
        "--report", action="store_true", help="run nothing; the figures of the records there are"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    records = [json.loads(line) for line in options.output.open()] if options.output.exists() else []
    if options.report:
        report(options.name, figures(options, records))
        return
    arms = {name: Arm(ARMS[name]) for name in options.arms}
    races = {name: lambda caption, arm=arm: arm.race(caption, options.seconds) for name, arm in arms.items()}

    def run(races: Mapping[str, Callable[[str], list[dict[str, Any]]]]) -> None:
        for caption in captions(options.captions, options.skip, options.limit):
            for name, race in races.items():
                if any((r["arm"], r["caption"]) == (name, caption) for r in records):
                    continue
                records.append({"arm": name, "caption": caption, "rows": race(caption)})
                with options.output.open("a") as lines:
                    lines.write(json.dumps(records[-1]) + "\n")
                best = records[-1]["rows"][-1]
                print(f"{name}: {best['cosine']:.3f} {best['text']!r} for {caption!r}", flush=True)
            report(options.name, figures(options, records))

    if options.python is None:
        run(races)
    else:
        (encoder,) = load("encoder", overrides=tuple(COMMON))
        folder = str(encoder.weights.directory)
        with tropt(options.python, options.environment, folder, options.seconds) as race:
            run({**races, "tropt": race})


if __name__ == "__main__":
    main()
