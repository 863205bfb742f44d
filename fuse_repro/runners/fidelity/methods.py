"""Every way of predicting what a candidate does, for one open token and one objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.errors import require
from fuse_repro.objectives import PromptBatch
from fuse_repro.search.gradient import OpenPrompt, slot_gradients
from fuse_repro.search.linearisation import Linearisation
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.proposal import ZEROTH, can_estimate, joining
from fuse_repro.search.scoring import by_kind, combine

BASELINES = ("zero", "random", "shuffled", "lm_only", "table", "context", "oracle")


@dataclass(frozen=True)
class Combination:
    """A method: gradients through `map`, taken at `points`, joined with a zeroth order; see Proposal."""

    map: str
    points: str
    zeroth: str = "none"
    zeroth_weight: Sequence[float] = (1.0, 0.5)
    calibrated: bool = False

    def __post_init__(self) -> None:
        require(self.zeroth in ZEROTH, "zeroth", self.zeroth, f"one of {', '.join(ZEROTH)}")
        good = len(self.zeroth_weight) == 2 and min(self.zeroth_weight) >= 0
        require(good, "zeroth_weight", list(self.zeroth_weight), "two numbers of at least 0")


@dataclass(frozen=True)
class Question:
    """One open token: the problem with its single term, the prompt, the candidates asked about, and the truth.

    log_probs: [V], of the next token. ids: [n] candidates. true: [n]. estimates: "alone", "context",
        and "typical", the one of them that spreads as the truth does (see `combine`), [n] each.
    seed: of the random baselines. All tensors are on the CPU, as are predictions; models need not be.
    """

    problem: PromptProblem
    prompt: OpenPrompt
    log_probs: Tensor
    ids: Tensor
    true: Tensor
    estimates: Mapping[str, Tensor]
    seed: int


def check_methods(
    maps: Sequence[str],
    points: Sequence[str],
    combinations: Mapping[str, Combination],
    baselines: Sequence[str],
) -> None:
    """Raise UsageError for baselines, maps or points that there are not."""
    unknown = sorted(set(baselines) - set(BASELINES))
    require(not unknown, "runner.baselines", unknown, f"any of {', '.join(BASELINES)}")
    for name, chosen in combinations.items():
        require(
            chosen.map in maps, f"runner.combinations.{name}.map", chosen.map, f"one of {', '.join(maps)}"
        )
        known = chosen.points in points
        require(known, f"runner.combinations.{name}.points", chosen.points, f"one of {', '.join(points)}")


def predictions(
    question: Question,
    maps: Mapping[str, EmbeddingMap],
    points: Mapping[str, Linearisation],
    combinations: Mapping[str, Combination],
    baselines: Sequence[str],
) -> dict[str, Tensor]:
    """Predicted objective [n], lower is better, of every baseline, every map at every point, and every combination.

    Gradients by the target model's embeddings are taken once per kind of point and shared by all maps.
    """
    found = {}
    for name, linearisation in points.items():
        traced = slot_gradients(question.problem, [question.prompt], linearisation, question.log_probs[None])
        if traced is not None:
            found[name] = traced
    linear: dict[tuple[str, str], dict[bool, Tensor]] = {}
    for name, traced in found.items():
        for map_name, fitted in maps.items():
            scores = {kind: traced.scores(kind, fitted)[0].cpu()[question.ids] for kind in traced.kinds}
            linear[map_name, name] = scores
    result = _baselines(question, baselines, next(iter(linear.values()))[False] if linear else None)
    result |= {f"{map_name}@{name}": scores[False] for (map_name, name), scores in linear.items()}
    kinds = by_kind(joining(question.problem.lm.tokenizer)[question.ids])
    for name, chosen in combinations.items():
        key = (chosen.map, chosen.points)
        traced = found[chosen.points]
        values = {kind: traced.values_of(kind)[0].cpu() for kind in linear[key]}
        zeroth = None if chosen.zeroth == "none" else question.estimates.get(chosen.zeroth)
        result[name] = combine(
            linear[key],
            zeroth,
            kinds,
            chosen.zeroth_weight,
            values if chosen.calibrated else None,
            question.estimates.get("typical"),
        )
    return result


def estimates(problem: PromptProblem, prompt: OpenPrompt, table: object) -> dict[str, Tensor]:
    """What the problem's single term says of candidates without a gradient: {} where it cannot."""
    term: Any = next(iter(problem.objective.terms.values()))
    if not can_estimate(term, prompt):
        return {}
    batch = PromptBatch([prompt.before + prompt.after], problem.targets)
    found = {name: term.word_estimates(batch, table, name == "context")[0] for name in ("alone", "context")}
    return found | {"typical": found["context" if getattr(term, "spreads_in_context", False) else "alone"]}


def _baselines(question: Question, names: Sequence[str], gradient: Tensor | None) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(question.seed)
    count = len(question.ids)
    known = {
        "zero": torch.zeros(count),
        "random": torch.rand(count, generator=draw),
        "lm_only": -question.log_probs[question.ids],
        "oracle": question.true,
    }
    if gradient is not None:
        known["shuffled"] = gradient[torch.randperm(count, generator=draw)]
    if "alone" in question.estimates:
        known |= {"table": question.estimates["alone"], "context": question.estimates["context"]}
    return {name: known[name] for name in names if name in known}
