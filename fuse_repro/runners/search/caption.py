"""The captioning run: photographs in, captions, metrics and a report out."""

from functools import partial
from typing import Any

from omegaconf import DictConfig

from fuse_repro.metrics.captions import UNIT
from fuse_repro.runners.assemble import prepare_search
from fuse_repro.runners.objective import build_objective
from fuse_repro.runners.search.metrics import (
    check_extra_metrics,
    check_metrics,
    extra_metrics,
    reference_metrics,
)
from fuse_repro.runners.search.module import PromptSearchModule, summarise, timing
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory


class CaptionSettings:
    """What conf/runner/caption.yaml holds."""

    prefix: str
    metrics: bool
    metrics_prefix: str
    clip_score: str | None
    spice: bool


class CaptionModule(PromptSearchModule):
    """Searches a caption for every photograph, and compares the captions with references and photographs.

    Args:
        arguments: as PromptSearchModule has them.
        runner: the runner's config, for its metrics.
    """

    nothing = "no photograph could be captioned"

    def __init__(self, *arguments: Any, runner: DictConfig) -> None:
        super().__init__(*arguments)
        self.runner = runner

    def measure(self, records: list[dict[str, Any]], done: list[dict[str, Any]]) -> dict[str, Any]:
        """Counts, objective, and the metrics that the runner asks for."""
        metrics, note = reference_metrics(done, self.runner)
        extra = extra_metrics(done, self.runner, self.models)
        if "SPICE" in extra:
            metrics = {**(metrics or {}), "SPICE": extra["SPICE"]}
        return {
            "runner": "captions",
            **summarise(records),
            "metrics": metrics,
            "metrics_unit": UNIT,
            "metrics_note": note,
            **extra,
            "prefix_policy": self.runner.metrics_prefix,
        }


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Caption every photograph of config.dataset; returns what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no photograph could be captioned.
    """
    check_settings("runner", config.runner, CaptionSettings)
    check_metrics(config)
    parts = prepare_search(config, directory, partial(check_extra_metrics, config.runner))
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
    return module.results() | {"timing": timing(parts.fit_seconds, module.seconds)}
