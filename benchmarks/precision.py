"""bfloat16 against float32 on the laptop models: order of candidates, survivors, objective, time, and what eats a gain.

    python benchmarks/precision.py $FUSE_REPRO_DATA/coco/images.jsonl

One process, one thread. CPU seconds, so that other work on the machine counts little; compare ratios only.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _common import RESULTS, config, report
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from fuse_repro.data.images import load_image
from fuse_repro.metrics.fidelity import spearman
from fuse_repro.metrics.statistics import bootstrap_interval, paired_difference
from fuse_repro.models.precision import low_precision, multiplies_bfloat16
from fuse_repro.objectives import ImageMatchTerm, LossValues, MultiObjectiveLoss, PromptBatch, prompt_nll
from fuse_repro.objectives.word_table import WordTable, word_table
from fuse_repro.runners.assemble import fit_adapters, load_models
from fuse_repro.runners.build import build, build_data, build_fit
from fuse_repro.runners.objective import PRIMARY, build_objective
from fuse_repro.runners.search.module import mean_targets
from fuse_repro.search import AutoDAN, PromptProblem
from fuse_repro.search.candidates import Candidate, propose
from fuse_repro.search.gradient import OpenPrompt, slot_gradients
from fuse_repro.search.screening import Screen, promising
from fuse_repro.weights import cache_folder

CPU = torch.device("cpu")
KEPT = RESULTS / "precision.json"
REPEATS = 2
SETTINGS = [
    "optimizer=autodan_laptop",
    "optimizer.linearisation.count=8",
    "optimizer.linearisation.joining=4",
]
PRODUCTS = re.compile(r"addmm|::mm$|bmm|baddbmm|linear|attention|matmul|einsum|dot$")
CASTS = re.compile(r"copy_|_to_copy|::to$")


class BothWays:
    """Stands for an objective's `forward`: float32, with the same candidates in bfloat16 beside it, and both noted."""

    def __init__(self, objective: MultiObjectiveLoss) -> None:
        self._forward = objective.forward
        self.steps: list[tuple[list[str], list[float], list[float]]] = []
        self.seconds = {"float32": 0.0, "bfloat16": 0.0}

    def __call__(self, batch: PromptBatch) -> LossValues:
        if batch.slot is not None:
            return self._forward(batch)
        values, spent = timed(lambda: self._forward(batch))
        self.seconds["float32"] += spent
        with low_precision(CPU):
            rough, spent = timed(lambda: self._forward(batch).total.tolist())
        self.seconds["bfloat16"] += spent
        self.steps.append((list(batch.texts), values.total.tolist(), rough))
        return values


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.process_time()
    found = work()
    return found, time.process_time() - begun


def survivors(optimizer: AutoDAN, texts: list[str], totals: list[float]) -> list[str]:
    """The candidates that a step keeps, best first."""
    return [texts[place] for place in optimizer._kept([Candidate(0, 0, text) for text in texts], totals)]


def after_screening(
    optimizer: AutoDAN, count: int, step: tuple[list[str], list[float], list[float]]
) -> list[str]:
    texts, exact, rough = step
    ends = [optimizer._ends(Candidate(0, 0, text)) for text in texts]
    places = promising(rough, ends, Screen(count, optimizer.candidates, optimizer.beam))
    return survivors(optimizer, [texts[p] for p in places], [exact[p] for p in places])


def of_steps(optimizer: AutoDAN, steps: list[tuple[list[str], list[float], list[float]]]) -> dict[str, Any]:
    """What bfloat16 does to the candidates of a float32 search, step by step."""
    ranks = [float(spearman(torch.tensor(exact), torch.tensor(rough))) for _, exact, rough in steps]
    errors = [abs(a - b) for _, exact, rough in steps for a, b in zip(exact, rough, strict=True)]
    same: dict[str, Any] = {}
    for times in (1, 2, 4, 8):
        count = times * optimizer.beam
        hits = [
            float(after_screening(optimizer, count, step) == survivors(optimizer, *step[:2]))
            for step in steps
        ]
        same[f"screen={count}"] = vars(bootstrap_interval(hits))
    unscreened = [survivors(optimizer, texts, rough) for texts, _, rough in steps]
    exact = [survivors(optimizer, *step[:2]) for step in steps]
    return {
        "steps": len(steps),
        "candidates": sum(len(texts) for texts, _, _ in steps),
        "spearman": {"mean": fmean(ranks), "least": min(ranks)},
        "difference_of_the_objective": {"mean": fmean(errors), "most": max(errors)},
        "share_of_steps_with_the_same_survivors": same,
        "the_same_by_bfloat16_alone": fmean(float(a == b) for a, b in zip(unscreened, exact, strict=True)),
    }


def modes(models: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The same models in float32, by autocast, and with weights in bfloat16."""
    yield "float32", nullcontext()
    yield "autocast", low_precision(CPU)
    for model in models.values():
        model.to(torch.bfloat16)
    yield "bfloat16 weights", nullcontext()


def parts_of_a_step(
    problem: PromptProblem, optimizer: AutoDAN, texts: list[str], table: WordTable
) -> dict[str, Callable[[], Any]]:
    """The work of one step of the search, part by part."""
    lm, term = problem.lm, next(t for t in problem.objective.terms.values() if isinstance(t, ImageMatchTerm))
    prompt = lm.tokenizer.decode([lm.tokenizer.encode([texts[0]])[0][:-1]])[0]
    ids = torch.tensor([lm.tokenizer.encode([prompt])[0]] * optimizer.beam)
    state = lm.start(ids)
    prompts = [OpenPrompt(prompt, 1.0, 1)] * optimizer.beam
    rows, tokens = torch.arange(optimizer.beam), ids[:, -1]

    def gradients() -> Tensor:
        found = slot_gradients(problem, prompts, optimizer.linearisation, state.log_probs)
        assert found is not None
        return found.scores()

    return {
        "candidates": lambda: term.encoder.encode(texts),
        "gradients": gradients,
        "language model": lambda: state.advance(rows, tokens),
        "estimate": lambda: term.word_estimates(PromptBatch([prompt] * 3, problem.targets), table, True),
    }


def profiled(work: Callable[[], Any]) -> dict[str, Any]:
    """CPU milliseconds of a call, and those of its operators: the least of several calls, since others are at work."""
    work()
    spent, own = float("inf"), {}
    for _ in range(REPEATS):
        spent = min(spent, timed(work)[1])
        with profile(activities=[ProfilerActivity.CPU]) as found:
            work()
        events = {e.key: e.self_cpu_time_total for e in found.key_averages() if e.key.startswith("aten::")}
        own = {key: min(value, own.get(key, value)) for key, value in events.items()}
    kinds = {"products": PRODUCTS, "casts and copies": CASTS}
    of_kinds = {kind: sum(v for key, v in own.items() if named.search(key)) for kind, named in kinds.items()}
    largest = sorted(own, key=lambda key: -own[key])[:6]
    return {
        "milliseconds": 1000 * spent,
        "operators": sum(own.values()) / 1000,
        "kinds": {kind: value / 1000 for kind, value in of_kinds.items()},
        "largest": {key.removeprefix("aten::"): own[key] / 1000 for key in largest},
    }


def rates() -> dict[str, float]:
    """GFLOP/s of a large product in either dtype."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
        left @ right
        _, spent = timed(lambda a=left, b=right: [a @ b for _ in range(6)])
        found[str(dtype).removeprefix("torch.")] = 6 * 2 * 1024**3 / spent / 1e9
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--limit", type=int, default=4, help="photographs")
    parser.add_argument("--tokens", type=int, default=6)
    parser.add_argument("--skip-mixed", action="store_true", help="no search in bf16-mixed")
    parser.add_argument("--only", choices=["parts", "searches"], help="measure one half; the other is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = [f"dataset.path={options.photographs}", f"dataset.limit={options.limit}"]
    composed = config(
        "experiment=caption", "trainer=cpu", *data, *SETTINGS, f"optimizer.max_new_tokens={options.tokens}"
    )
    figures: dict[str, Any] = json.loads(KEPT.read_text()) if options.only and KEPT.exists() else {}
    figures |= {"bfloat16_instructions": multiplies_bfloat16(CPU), "gflops": rates()}
    photographs, optimizer = build_data(composed.dataset), build(composed.optimizer)
    photographs.setup("predict")
    if options.only != "searches":
        figures["parts_of_a_step"] = profiles(composed, photographs.items[0], optimizer)
        report("precision", figures)
    if options.only == "parts":
        return
    models, objective, _ = loaded(composed)
    both, rows = BothWays(objective), []
    for item in photographs.items:
        problem = problem_of(composed, models, objective, item)
        rows.append(searched(problem, optimizer, both, options.skip_mixed))
        figures |= {"searches": summary(rows), "candidates": of_steps(optimizer, both.steps)}
        figures["seconds_of_scoring"] = both.seconds
        figures["bfloat16_over_float32"] = both.seconds["bfloat16"] / both.seconds["float32"]
        report("precision", figures)


def loaded(composed: Any) -> tuple[dict[str, Any], MultiObjectiveLoss, WordTable]:
    """The models, their objective and the table of the estimate, all in float32."""
    models, folder = load_models(composed, CPU), cache_folder(composed.cache_dir)
    adapters = fit_adapters(models, build_fit(composed.adapter), build(composed.corpus).words(), folder)
    objective = build_objective(composed.objective, models, adapters)
    encoder = next(term.encoder for term in objective.terms.values() if isinstance(term, ImageMatchTerm))
    return models, objective, word_table(models[PRIMARY], encoder, folder)


def problem_of(composed: Any, models: Any, objective: MultiObjectiveLoss, item: Any) -> PromptProblem:
    targets = mean_targets(objective, ImageMatchTerm, [load_image(item.path)])
    return PromptProblem(models[PRIMARY], objective, composed.runner.prefix, targets)


def profiles(composed: Any, item: Any, optimizer: AutoDAN) -> dict[str, Any]:
    """The parts of a step in every mode; the models are not used afterwards, since their weights get rounded."""
    models, objective, table = loaded(composed)
    problem = problem_of(composed, models, objective, item)
    words = composed.runner.prefix + " man sitting on the side of"
    (ids,) = problem.lm.tokenizer.encode([words])
    proposed = propose(
        problem.lm.start(torch.tensor([ids])).log_probs, [tuple(ids)], problem.lm.tokenizer, 192
    )
    texts = [candidate.text for candidate in proposed]
    return {mode: in_mode(context, problem, optimizer, texts, table) for mode, context in modes(models)}


def in_mode(
    context: Any, problem: PromptProblem, optimizer: AutoDAN, texts: list[str], table: WordTable
) -> dict[str, Any]:
    with context:
        return {
            name: profiled(work) for name, work in parts_of_a_step(problem, optimizer, texts, table).items()
        }


def searched(problem: PromptProblem, optimizer: AutoDAN, both: BothWays, skip_mixed: bool) -> dict[str, Any]:
    """One photograph, searched in float32, with the narrowest screen, and in bf16-mixed."""
    before, forward = sum(both.seconds.values()) - both.seconds["float32"], problem.objective.forward
    problem.objective.forward = both  # type: ignore[method-assign]
    plain, spent = timed(lambda: optimizer.search(problem))
    problem.objective.forward = forward  # type: ignore[method-assign]
    spent -= sum(both.seconds.values()) - both.seconds["float32"] - before
    row = {"float32": {"objective": plain.best.objective, "text": plain.best.text, "seconds": spent}}
    screening = replace(optimizer, screen=optimizer.beam)
    found, spent = timed(lambda: screening.search(problem))
    row[f"screen={optimizer.beam}"] = {
        "objective": found.best.objective,
        "text": found.best.text,
        "seconds": spent,
    }
    if not skip_mixed:
        with low_precision(CPU):
            found, spent = timed(lambda: optimizer.search(problem))
        likelihood = prompt_nll(problem.lm, [found.best.ids])
        exact = problem.objective(PromptBatch([found.best.text], problem.targets, *likelihood))
        row["bf16-mixed"] = {
            "objective": float(exact.total[0]),
            "said": found.best.objective,
            "text": found.best.text,
            "seconds": spent,
        }
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every arm against float32, paired over photographs."""
    own = [row["float32"] for row in rows]
    found: dict[str, Any] = {"photographs": len(rows), "rows": rows}
    for arm in rows[0]:
        theirs = [row[arm] for row in rows]
        pairs = list(zip(own, theirs, strict=True))
        found[arm] = {
            "objective": fmean(row["objective"] for row in theirs),
            "same_caption": fmean(float(a["text"] == b["text"]) for a, b in pairs),
            "seconds_over_float32": math.exp(fmean(math.log(b["seconds"] / a["seconds"]) for a, b in pairs)),
        }
        if arm != "float32" and len(rows) > 1:
            found[arm]["objective_minus_float32"] = vars(
                paired_difference([b["objective"] for _, b in pairs], [a["objective"] for a, _ in pairs])
            )
    return found


if __name__ == "__main__":
    main()
