"""What searches of prompts compute, and measurements of their gradients, counted from the config alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean

from omegaconf import DictConfig

from fuse_repro.models.sizes import model_size
from fuse_repro.runners.costs import data_sizes as sizes
from fuse_repro.runners.costs.data_sizes import DataSize
from fuse_repro.runners.costs.work import AND_BACK, Counted, Work
from fuse_repro.search.probing import Probing

UNTRUSTED = 0.5  # agreement of a draft that says nothing: most have more, and so fewer evaluations


def caption_work(config: DictConfig) -> Counted:
    """A search per photograph and sentiment."""
    data = sizes.items(config.dataset, "photographs")
    return data, _searches(config, data.items)


def inversion_work(config: DictConfig) -> Counted:
    """A search per text."""
    data = sizes.items(config.dataset, "texts")
    return data, _searches(config, data.items)


def fidelity_work(config: DictConfig) -> Counted:
    """For every term and prompt: its true value at all candidates, and its gradient at every linearisation point."""
    runner = config.runner
    captions = runner.prompts * len(runner.lengths) * len(runner.places)
    corpora = 1 if runner.texts is None else 2
    prefix = len(runner.prefix.split()) + sizes.SPECIAL + 1
    tokens = prefix + fmean(runner.lengths) * sizes.TOKENS_PER_WORD
    points = sum(_points_of(node) for node in runner.points.values())
    work = [Work("lm", "next tokens", captions * corpora, tokens)]
    for term in config.objective.values():
        if term.weight > 0 and term.model != "lm":  # no map carries the gradient of the primary model's own
            prompts = captions * (1 if _of_photographs(term) else corpora)
            work.append(Work(term.model, "candidates", prompts * runner.candidates, tokens))
            work.append(Work(term.model, "gradients", prompts * points, tokens, AND_BACK))
    return DataSize(f"{captions * corpora:,} prompts, as runner asks for"), work


def _searches(config: DictConfig, items: int) -> list[Work]:
    """One search per item and sentiment; all of their work in equal parts less where `max_flops` ends them before."""
    works = list(_unbounded(config, items))
    bound = config.optimizer.get("max_flops")
    sized = [(work, model_size(config.models[work.role])) for work in works]
    operations = sum(work.operations(size) for work, size in sized if size)
    if bound is None or not operations:
        return works
    searches = items * len(config.runner.get("sentiments") or ["none"])
    share = min(1.0, bound * searches / operations)
    return [replace(work, passes=work.passes * share) for work in works]


def _unbounded(config: DictConfig, items: int) -> Iterator[Work]:
    """The work of searches that take all of their steps."""
    search = search_of(config.optimizer)
    sentiments = list(config.runner.get("sentiments") or ["none"])
    length = len(config.runner.prefix.split()) + sizes.SPECIAL + search.tokens
    yield Work("lm", "next tokens", items * len(sentiments) * search.lm_tokens, 1)
    for name, term in config.objective.items():
        if term.model == "lm" or term.weight <= 0:
            continue
        searches = items * sum(name != "sentiment" or one != "none" for one in sentiments)
        yield Work(term.model, "candidates", searches * search.evaluations, length)
        if search.gradients:
            yield Work(term.model, "gradients", searches * search.gradients, length, AND_BACK)
        if _of_photographs(term):
            yield Work(term.model, "photographs", searches, 0)


@dataclass(frozen=True)
class Search:
    """What one search asks for. tokens: of its prompts beyond the prefix, on the average.

    lm_tokens: that the language model reads; evaluations, gradients: of every other model; drafted: prompts that are
    screened by a draft (`optimizer.probe`).
    """

    tokens: float
    lm_tokens: float
    evaluations: float
    gradients: float
    drafted: float = 0


def search_of(optimizer: DictConfig) -> Search:
    """By a beam of growing prompts, or over prompts of a fixed number of tokens."""
    limit = optimizer.get("max_evaluations") or math.inf
    if "beam" in optimizer:
        prompts = optimizer.max_new_tokens * optimizer.beam
        gradients = prompts * _points_of(optimizer.linearisation) if optimizer.gradient_weight > 0 else 0
        evaluations = min(prompts * optimizer.candidates, limit)
        evaluations += min(prompts * (optimizer.get("screen") or 0), limit)  # the second time, in float32
        if refinement := optimizer.get("refinement"):
            tried = refinement.exchanges + refinement.insertions + refinement.moves + optimizer.max_new_tokens
            tried += refinement.likely * optimizer.max_new_tokens
            stuck = 0.5 * refinement.regrown if refinement.patience else 0  # every second step, at the most
            tried += stuck * (refinement.regrown_insertions + refinement.likely * optimizer.max_new_tokens)
            more = min(refinement.steps * (tried + refinement.combined), max(0, limit - evaluations))
            prompts += more * optimizer.max_new_tokens
            evaluations += more
            gradients += refinement.steps * (refinement.averaged + stuck * refinement.regrown_averaged)
        return Search(optimizer.max_new_tokens / 2, prompts, evaluations, gradients)
    drawn = evaluated = optimizer.get("candidates", 1)
    if probe := optimizer.get("probe"):
        probing = Probing(probe, optimizer.probe_filter)
        evaluated = min(drawn, probing.probes(drawn) + probing.filtered(drawn, UNTRUSTED))
    evaluations = min(optimizer.steps * evaluated, limit)
    drafted = evaluations / evaluated * drawn if probe else 0
    gradients = 0 if "RandomSearch" in optimizer._target_ else min(optimizer.steps, limit)
    return Search(optimizer.tokens, evaluations * optimizer.tokens, evaluations, gradients, drafted)


def _points_of(settings: DictConfig) -> int:
    """At how many points a `linearisation` takes a prompt's gradient."""
    many = settings.kind in ("random", "likely")
    return int(settings.get("count", 0) + settings.get("joining", 0)) if many else 1


def _of_photographs(term: DictConfig) -> bool:
    return "ImageMatch" in term._target_
