"""What a run computes, counted from its config alone: forward passes of every model and their tokens."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from fuse_repro.data import sizes
from fuse_repro.data.sizes import DataSize
from fuse_repro.models.sizes import ModelSize

AND_BACK = 2  # a forward and a backward pass; weights are frozen, so back costs as much as forth
SPECIAL = 2  # tokens put around a text


@dataclass(frozen=True)
class Work:
    """Equal forward passes of one model.

    role: whose. what: for messages. passes: how many; tokens: of each, 0 for images. times: 1, or `AND_BACK`.
    shared: what makes the work the same in several runs, which do it once between them; "" where nothing does.
    """

    role: str
    what: str
    passes: float
    tokens: float
    times: int = 1
    shared: str = ""

    def operations(self, size: ModelSize) -> float:
        """Floating-point operations; a multiply-add counts as two."""
        each = size.per_token * self.tokens if self.tokens else size.per_image
        return 2 * each * self.passes * self.times


Counted = tuple[DataSize, list[Work]]


def work_of(config: DictConfig) -> Counted | None:
    """The data and the work of a run, at the most: searches and tunings that stop early do less.

    None for a runner that is not known here.
    """
    counters: Mapping[str, Callable[[DictConfig], Counted]] = {
        "fuse_repro.runners.caption.run": _captions,
        "fuse_repro.runners.caption_sentiment.run": _captions,
        "fuse_repro.runners.prompt_transfer.run": _transfers,
    }
    count = counters.get(config.runner._target_)
    return None if count is None else count(config)


def _captions(config: DictConfig) -> Counted:
    data = sizes.photographs(config.dataset)
    return data, list(_searches(config, data.items))


def _searches(config: DictConfig, photographs: int) -> Iterator[Work]:
    """One search per photograph and sentiment."""
    search = _search(config.optimizer)
    sentiments = list(config.runner.get("sentiments") or ["none"])
    length = len(config.runner.prefix.split()) + SPECIAL + search.tokens
    yield Work("lm", "next tokens", photographs * len(sentiments) * search.lm_tokens, 1)
    for name, term in config.objective.items():
        if term.model == "lm" or term.weight <= 0:
            continue
        searches = photographs * sum(name != "sentiment" or one != "none" for one in sentiments)
        yield Work(term.model, "candidates", searches * search.evaluations, length)
        if search.gradients:
            yield Work(term.model, "gradients", searches * search.gradients, length, AND_BACK)
        if "ImageMatch" in term._target_:
            yield Work(term.model, "photographs", searches, 0)


@dataclass(frozen=True)
class Search:
    """What one search asks for. tokens: of its prompts beyond the prefix, on the average.

    lm_tokens: that the language model reads; evaluations, gradients: of every other model.
    """

    tokens: float
    lm_tokens: float
    evaluations: float
    gradients: float


def _search(optimizer: DictConfig) -> Search:
    """By a beam of growing prompts, or over prompts of a fixed number of tokens."""
    limit = optimizer.get("max_evaluations") or math.inf
    if "beam" in optimizer:
        prompts = optimizer.max_new_tokens * optimizer.beam
        gradients = prompts * _points(optimizer) if optimizer.gradient_weight > 0 else 0
        evaluations = min(prompts * optimizer.candidates, limit)
        return Search(optimizer.max_new_tokens / 2, prompts, evaluations, gradients)
    evaluations = min(optimizer.steps * optimizer.get("candidates", 1), limit)
    gradients = 0 if "RandomSearch" in optimizer._target_ else min(optimizer.steps, limit)
    return Search(optimizer.tokens, evaluations * optimizer.tokens, evaluations, gradients)


def _points(optimizer: DictConfig) -> int:
    """At how many points a prompt's gradient is taken."""
    settings = optimizer.linearisation
    many = settings.kind in ("random", "likely")
    return int(settings.get("count", 0) + settings.get("joining", 0)) if many else 1


def _transfers(config: DictConfig) -> Counted:
    data = sizes.tasks(config.task)
    return data, list(_cells(config, data))


def _cells(config: DictConfig, data: DataSize) -> Iterator[Work]:
    """Prompts tuned on every model that needs one, moved, and evaluated."""
    runner, tuning = config.runner, config.tuning
    tuned = [runner.target] if "direct_tuning" in runner.baselines else []
    if config.methods:
        tuned += runner.sources
    elif "source_tuned" in runner.baselines:
        tuned.append(runner.sources[0])
    prompts = (len(config.methods) + len(runner.baselines)) * len(runner.seeds)
    looks = sum(node.steps / node.check_every for node in _searched(config)) * len(runner.seeds)
    settings = OmegaConf.to_container(tuning, resolve=True)
    for task in data.tasks:
        tokens = task.tokens + tuning.m
        for seed in runner.seeds:
            for role in dict.fromkeys(tuned):
                key = f"{config.models[role].name}/{task.name}/{seed}/{settings}"
                passes = task.tasks * tuning.max_steps * tuning.batch_size
                yield Work(role, "tuning", passes, tokens, AND_BACK, f"tuning/{key}")
                dev = task.tasks * task.dev * tuning.max_steps / tuning.evaluate_every
                yield Work(role, "looks at dev", dev, tokens, shared=f"looks/{key}")
        yield Work(runner.target, "test items", prompts * task.tasks * task.test, tokens)
        if runner.trace_accuracy:
            yield Work(runner.target, "dev along the search", looks * task.tasks * task.dev, tokens)


def _searched(config: DictConfig) -> list[DictConfig]:
    """The methods that search step by step."""
    return [node for node in config.methods.values() if node.get("solver") == "adam"]
