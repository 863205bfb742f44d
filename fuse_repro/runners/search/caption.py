"""The captioning run: photographs in, captions, metrics and a report out."""

from functools import partial
from typing import Any, Literal

from omegaconf import DictConfig

from fuse_repro.data.images import ImageItem
from fuse_repro.metrics.captions import UNIT
from fuse_repro.runners.assemble import prepare_search
from fuse_repro.runners.objective import build_objective
from fuse_repro.runners.search.caption_files import Sidecars, caption_files
from fuse_repro.runners.search.metrics import (
    check_extra_metrics,
    check_metrics,
    clip_score,
    extra_metrics,
    reference_metrics,
)
from fuse_repro.runners.search.module import (
    PromptSearchModule,
    done_records,
    joined_timing,
    summarise,
    timing,
)
from fuse_repro.runners.shards import Merging, write_files
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import SearchResult

NOTHING = "no photograph could be captioned"


class CaptionSettings:
    """What conf/runner/caption.yaml holds."""

    prefix: str
    metrics: bool
    metrics_prefix: str
    clip_score: str | None
    spice: bool
    sidecar: bool | Literal["overwrite"]


class CaptionModule(PromptSearchModule):
    """Searches a caption for every photograph, and compares the captions with references and photographs.

    Args:
        arguments: as PromptSearchModule has them.
        runner: the runner's config, for its metrics.
    """

    def __init__(self, *arguments: Any, runner: DictConfig) -> None:
        super().__init__(*arguments)
        self.runner = runner

    def measure(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Counts, objective, and the metrics that the runner asks for."""
        return measured(self.runner, records)

    def _record(self, item: ImageItem, found: SearchResult) -> dict[str, Any]:
        record = super()._record(item, found)
        return record | clip_score({**self._sought(item), **record}, self.runner, self.models)


def measured(runner: DictConfig, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What results.json holds of captions. Raises UsageError where there is none."""
    done = done_records(records, NOTHING)
    metrics, note = reference_metrics(done, runner)
    extra = extra_metrics(done, runner)
    if "SPICE" in extra:
        metrics = {**(metrics or {}), "SPICE": extra["SPICE"]}
    return {
        "runner": "captions",
        **summarise(records),
        "metrics": metrics,
        "metrics_unit": UNIT,
        "metrics_note": note,
        **extra,
        "prefix_policy": runner.metrics_prefix,
    }


MERGING = Merging(
    record_ids=lambda config, item: [[item]],
    results=lambda config, records: measured(config.runner, records),
    timing=joined_timing,
    files=caption_files,
)


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Caption every photograph of config.dataset; returns what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no photograph could be captioned.
    """
    check_settings("runner", config.runner, CaptionSettings)
    check_metrics(config)
    sidecars = Sidecars(config.runner, directory.path)
    parts = prepare_search(config, directory, partial(check_extra_metrics, config.runner), sidecars.prepare)
    objective = build_objective(config.objective, parts.models, parts.adapters)
    module = CaptionModule(
        parts.lm,
        parts.models,
        objective,
        parts.optimizer,
        config.runner.prefix,
        directory,
        runner=config.runner,
    )
    module.search_all(parts.trainer, parts.data)
    write_files(directory.path, caption_files(config, directory.records()))
    sidecars.write(directory.records())
    return module.results() | {"timing": timing(parts.fit_seconds, module.seconds, parts.adapters)}
