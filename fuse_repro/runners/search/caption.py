"""The captioning run: photographs in, captions, metrics and a report out."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig

from fuse_repro.errors import UsageError
from fuse_repro.metrics.captions import UNIT
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.assemble import build_objective, prepare_search
from fuse_repro.runners.search.metrics import check_extra_metrics, extra_metrics, reference_metrics
from fuse_repro.runners.search.module import PromptSearchModule, summarise, timing
from fuse_repro.runs.directory import RunDirectory


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Caption every photograph of config.dataset; returns what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no photograph could be captioned.
    """
    parts = prepare_search(config, directory, partial(check_extra_metrics, config.runner))
    objective = build_objective(config.objective, parts.models, parts.adapters)
    module = PromptSearchModule(
        parts.lm, parts.models, objective, parts.optimizer, config.runner.prefix, directory
    )
    parts.trainer.predict(module, datamodule=parts.data, return_predictions=False)
    return _results(config, directory, parts.models) | {"timing": timing(parts.fit_seconds, module.seconds)}


def _results(
    config: DictConfig, directory: RunDirectory, models: Mapping[str, FrozenModel]
) -> dict[str, Any]:
    records = directory.records()
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise UsageError(f"no photograph could be captioned; the first error: {records[0]['error']}")
    metrics, note = reference_metrics(done, config.runner)
    extra = extra_metrics(done, config.runner, models)
    if "SPICE" in extra:
        metrics = {**(metrics or {}), "SPICE": extra["SPICE"]}
    return {
        "runner": "captions",
        **summarise(records),
        "metrics": metrics,
        "metrics_unit": UNIT,
        "metrics_note": note,
        **extra,
        "prefix_policy": config.runner.metrics_prefix,
    }
