"""Captions of the same photographs without and with a sentiment (FUSE, section 4.3 and Figure 3)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import nn

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.data.images import ImageItem
from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.captions import MetricsUnavailable, caption_metrics
from fuse_repro.metrics.sentiment import LABELS, sentiment_accuracy
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.run_directory import RunDirectory
from fuse_repro.runners.assemble import (
    PRIMARY,
    build,
    build_objective,
    build_trainer,
    fit_adapters,
    load_models,
    term_weights,
)
from fuse_repro.runners.extra_metrics import check_extra_metrics, extra_metrics
from fuse_repro.runners.prompt_search import PromptSearchModule, summarise
from fuse_repro.search import SearchResult
from fuse_repro.weights import cache_folder

NONE = "none"
TERM = "sentiment"


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Caption every photograph of config.dataset once for each of runner.sentiments; what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no photograph could be captioned.
    """
    optimizer, adapter, corpus = build(config.optimizer), build(config.adapter), build(config.corpus)
    sentiments = checked_sentiments(config.runner.sentiments)
    require(
        TERM in term_weights(config.objective),
        "objective",
        list(config.objective),
        f"one with a term {TERM!r} of a weight above 0, such as objective=caption_sentiment",
    )
    data = build(config.dataset)
    data.setup("predict")
    trainer = build_trainer(config.trainer)
    device = trainer.strategy.root_device
    models = load_models(config, device)
    lm = models[PRIMARY]
    require(isinstance(lm, CausalLM), "models.lm", lm.name, "a causal language model, such as smollm2_135m")
    check_extra_metrics(config.runner, models)
    files = {role: model.weights.files for role, model in models.items() if model.weights is not None}
    directory.open(device=str(device), weights=files)
    begun = time.perf_counter()
    adapters = {}
    if optimizer.uses_gradients:
        adapters = fit_adapters(models, adapter, corpus.words(), cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    module = SentimentSearchModule(
        cast(CausalLM, lm),
        models,
        objectives(config.objective, sentiments, models, adapters),
        optimizer,
        config.runner.prefix,
        directory,
    )
    trainer.predict(module, datamodule=data, return_predictions=False)
    timing = {
        "adapter_seconds": fit_seconds,
        "seconds_per_item": fmean(module.seconds) if module.seconds else None,
        "items_timed": len(module.seconds),
    }
    return results(directory.records(), config.runner, models) | {"timing": timing}


class SentimentSearchModule(PromptSearchModule):
    """Searches one prompt for every photograph and sentiment; records carry both, and ids join them.

    Args:
        objectives: sentiment -> what is minimised for it.
    """

    def __init__(
        self,
        lm: CausalLM,
        models: Mapping[str, FrozenModel],
        objectives: Mapping[str, MultiObjectiveLoss],
        *arguments: Any,
    ) -> None:
        super().__init__(lm, models, next(iter(objectives.values())), *arguments)
        self.objectives = nn.ModuleDict(objectives)
        self._now = ("", "")

    def predict_step(self, item: ImageItem, batch_idx: int) -> None:
        """Caption one photograph with every sentiment."""
        for sentiment, objective in self.objectives.items():
            self.objective = cast(MultiObjectiveLoss, objective)
            self._now = (item.id, sentiment)
            super().predict_step(replace(item, id=f"{item.id}/{sentiment}"), batch_idx)

    def _record(self, item: ImageItem, found: SearchResult) -> dict[str, Any]:
        image_id, sentiment = self._now
        return {"image_id": image_id, "sentiment": sentiment} | super()._record(item, found)


def checked_sentiments(given: Sequence[str]) -> list[str]:
    """The sentiments to caption with. Raises UsageError for an unknown one, one twice, or none at all."""
    known = (NONE, *LABELS)
    for sentiment in given:
        require(sentiment in known, "runner.sentiments", sentiment, f"of {', '.join(known)}")
    require(0 < len(given) == len(set(given)), "runner.sentiments", list(given), "at least one, each once")
    return list(given)


def objectives(
    node: DictConfig,
    sentiments: Sequence[str],
    models: Mapping[str, FrozenModel],
    adapters: Mapping[str, EmbeddingMap],
) -> dict[str, MultiObjectiveLoss]:
    """Sentiment -> the objective with that label; for "none" without the sentiment term."""
    built = {}
    for sentiment in sentiments:
        change = {"weight": 0.0} if sentiment == NONE else {"label": sentiment}
        changed = cast(DictConfig, OmegaConf.merge(node, {TERM: change}))
        built[sentiment] = build_objective(changed, models, adapters)
    return built


def results(
    records: Sequence[Mapping[str, Any]], runner: DictConfig, models: Mapping[str, FrozenModel]
) -> dict[str, Any]:
    """Counts, objective, caption metrics and judged sentiment, for each sentiment that was searched for.

    Raises UsageError where no photograph could be captioned.
    """
    done = [dict(record) for record in records if record["status"] == "done"]
    if not done:
        raise UsageError(f"no photograph could be captioned; the first error: {records[0]['error']}")
    found: dict[str, Any] = {}
    for sentiment in dict.fromkeys(record["sentiment"] for record in done):
        rows = [record for record in done if record["sentiment"] == sentiment]
        metrics, note = _caption_metrics(rows, runner)
        found[sentiment] = {
            **summarise(rows),
            "metrics": metrics,
            "metrics_note": note,
            **extra_metrics(rows, runner, models),
            "judged": None
            if sentiment == NONE
            else sentiment_accuracy([row["caption"] for row in rows], [sentiment] * len(rows)),
        }
    return {
        "runner": "caption_sentiment",
        "items": {"done": len(done), "failed": len(records) - len(done)},
        "prefix_policy": runner.metrics_prefix,
        "sentiments": found,
    }


def _caption_metrics(
    rows: Sequence[Mapping[str, Any]], runner: DictConfig
) -> tuple[dict[str, Any] | None, str | None]:
    """The caption metrics, or None and why there are none."""
    references = {row["image_id"]: row["references"] for row in rows if row["references"]}
    if not runner.metrics or not references:
        return None, None if runner.metrics else "switched off (runner.metrics=false)"
    captions = {row["image_id"]: row["text"] for row in rows}
    try:
        return caption_metrics(captions, references, runner.metrics_prefix, runner.prefix), None
    except MetricsUnavailable as error:
        return None, str(error)
