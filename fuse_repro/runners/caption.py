"""The captioning run: photographs in, captions, metrics and a report out."""

import time
from collections.abc import Mapping
from statistics import fmean
from typing import Any, cast

from omegaconf import DictConfig

from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.captions import MetricsUnavailable, caption_metrics
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
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
from fuse_repro.weights import cache_folder


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Caption every photograph of config.dataset; returns what results.json holds.

    Everything that can be checked without a model is checked before one is loaded. Raises UsageError for
    settings or data that cannot be used, and where no photograph could be captioned.
    """
    optimizer, adapter, corpus = build(config.optimizer), build(config.adapter), build(config.corpus)
    term_weights(config.objective)
    data = build(config.dataset)
    data.setup("predict")
    trainer = build_trainer(config.trainer)
    device = trainer.strategy.root_device
    models = load_models(config, device)
    check_extra_metrics(config.runner, models)
    files = {role: model.weights.files for role, model in models.items() if model.weights is not None}
    directory.open(device=str(device), weights=files)
    begun = time.perf_counter()
    adapters = {}
    if optimizer.uses_gradients:
        adapters = fit_adapters(models, adapter, corpus.words(), cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    objective = build_objective(config.objective, models, adapters)
    lm = models[PRIMARY]
    require(isinstance(lm, CausalLM), "models.lm", lm.name, "a causal language model, such as smollm2_135m")
    module = PromptSearchModule(
        cast(CausalLM, lm), models, objective, optimizer, config.runner.prefix, directory
    )
    trainer.predict(module, datamodule=data, return_predictions=False)
    return _results(config, directory, module, models, fit_seconds)


def _results(
    config: DictConfig,
    directory: RunDirectory,
    module: PromptSearchModule,
    models: Mapping[str, FrozenModel],
    fit_seconds: float,
) -> dict[str, Any]:
    records = directory.records()
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise UsageError(f"no photograph could be captioned; the first error: {records[0]['error']}")
    metrics, note = _metrics(config, done)
    extra = extra_metrics(done, config.runner, models)
    if "SPICE" in extra:
        metrics = {**(metrics or {}), "SPICE": extra["SPICE"]}
    seconds = fmean(module.seconds) if module.seconds else None
    return {
        "runner": "captions",
        **summarise(records),
        "metrics": metrics,
        "metrics_note": note,
        **extra,
        "prefix_policy": config.runner.metrics_prefix,
        "timing": {
            "adapter_seconds": fit_seconds,
            "seconds_per_item": seconds,
            "items_timed": len(module.seconds),
        },
    }


def _metrics(config: DictConfig, done: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
    """The caption metrics, or None and why there are none."""
    references = {record["id"]: record["references"] for record in done if record["references"]}
    if not config.runner.metrics or not references:
        return None, None if config.runner.metrics else "switched off (runner.metrics=false)"
    captions = {record["id"]: record["text"] for record in done}
    try:
        return caption_metrics(captions, references, config.runner.metrics_prefix, config.runner.prefix), None
    except MetricsUnavailable as error:
        return None, str(error)
