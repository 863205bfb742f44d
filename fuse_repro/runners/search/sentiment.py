"""Captions of the same photographs without and with a sentiment (FUSE, section 4.3 and Figure 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import nn

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.data.images import ImageItem
from fuse_repro.errors import require
from fuse_repro.metrics.captions import UNIT
from fuse_repro.metrics.sentiment import LABELS, sentiment_accuracy
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.runners.assemble import prepare_search
from fuse_repro.runners.objective import build_objective, term_weights
from fuse_repro.runners.search.caption import NOTHING, CaptionModule, CaptionSettings
from fuse_repro.runners.search.caption_files import Sidecars, caption_files
from fuse_repro.runners.search.metrics import (
    check_extra_metrics,
    check_metrics,
    extra_metrics,
    reference_metrics,
)
from fuse_repro.runners.search.module import done_records, joined_timing, summarise, timing
from fuse_repro.runners.shards import Merging, write_files
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import SearchResult

NONE = "none"
TERM = "sentiment"


class SentimentSettings(CaptionSettings):
    """What conf/runner/caption_sentiment.yaml holds."""

    sentiments: Sequence[str]


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Caption every photograph of config.dataset once for each of runner.sentiments; what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no photograph could be captioned.
    """
    check_settings("runner", config.runner, SentimentSettings)
    sentiments = checked_sentiments(config.runner.sentiments)
    require(
        TERM in term_weights(config.objective),
        "objective",
        list(config.objective),
        f"one with a term {TERM!r} of a weight above 0, such as objective=caption_sentiment",
    )
    check_metrics(config)
    sidecars = Sidecars(config.runner, directory.path, sentiments, record_id)
    parts = prepare_search(config, directory, partial(check_extra_metrics, config.runner), sidecars.prepare)
    module = SentimentCaptionModule(
        parts.lm,
        parts.models,
        objectives(config.objective, sentiments, parts.models, parts.adapters),
        parts.optimizer,
        config.runner.prefix,
        directory,
        runner=config.runner,
    )
    module.search_all(parts.trainer, parts.data)
    write_files(directory.path, caption_files(config, directory.records()))
    sidecars.write(directory.records())
    return module.results() | {"timing": timing(parts.fit_seconds, module.seconds, parts.adapters)}


class SentimentCaptionModule(CaptionModule):
    """Searches one caption for every photograph and sentiment; records carry both, and ids join them.

    Args:
        objectives: sentiment -> what is minimised for it.
    """

    def __init__(
        self,
        lm: CausalLM,
        models: Mapping[str, FrozenModel],
        objectives: Mapping[str, MultiObjectiveLoss],
        *arguments: Any,
        runner: DictConfig,
    ) -> None:
        super().__init__(lm, models, next(iter(objectives.values())), *arguments, runner=runner)
        self.objectives = nn.ModuleDict(objectives)

    def record_ids(self, item: ImageItem) -> list[str]:
        """One record for every sentiment."""
        return [record_id(item.id, sentiment) for sentiment in self.objectives]

    def parts(self, item: ImageItem) -> list[tuple[MultiObjectiveLoss, ImageItem]]:
        """The photograph once for every sentiment."""
        pairs = zip(self.record_ids(item), self.objectives.values(), strict=True)
        return [(cast(MultiObjectiveLoss, objective), replace(item, id=name)) for name, objective in pairs]

    def measure(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Counts, objective, caption metrics and judged sentiment, for each sentiment that was searched for."""
        return measured(self.runner, records)

    def _record(self, item: ImageItem, found: SearchResult) -> dict[str, Any]:
        image_id, _, sentiment = item.id.rpartition("/")
        return {"image_id": image_id, "sentiment": sentiment} | super()._record(item, found)


def record_id(item: str, sentiment: str) -> str:
    """The id of the record of a photograph and a sentiment."""
    return f"{item}/{sentiment}"


def measured(runner: DictConfig, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What results.json holds of captions with sentiments. Raises UsageError where there is none."""
    done = done_records(records, NOTHING)
    found: dict[str, Any] = {}
    for sentiment in dict.fromkeys(record["sentiment"] for record in done):
        rows = [record for record in done if record["sentiment"] == sentiment]
        metrics, note = reference_metrics(rows, runner, "image_id")
        found[sentiment] = {
            **summarise(rows),
            "metrics": metrics,
            "metrics_unit": UNIT,
            "metrics_note": note,
            **extra_metrics(rows, runner),
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


MERGING = Merging(
    record_ids=lambda config, item: [[record_id(item, sentiment) for sentiment in config.runner.sentiments]],
    results=lambda config, records: measured(config.runner, records),
    timing=joined_timing,
    files=caption_files,
)


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
