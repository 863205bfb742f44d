"""The inversion run: from texts' embeddings to prompts that have them (with a language model's fluency)."""

import time
from statistics import fmean
from typing import Any, cast

from omegaconf import DictConfig
from torch import Tensor

from fuse_repro.data.texts import TextItem
from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.inversion import inversion_metrics
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import TextMatchTerm
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
from fuse_repro.runners.prompt_search import PromptSearchModule, mean_targets, summarise
from fuse_repro.weights import cache_folder


class PromptInversionModule(PromptSearchModule):
    """Searches a prompt for every text, or for several texts together: its distance is the mean of those to each."""

    def _sought(self, item: TextItem) -> dict[str, Any]:
        return {"targets": list(item.texts)}

    def _origin(self, item: TextItem) -> dict[str, Any]:
        return {"references": []}

    def _targets(self, item: TextItem) -> dict[str, Tensor]:
        return mean_targets(self.objective, TextMatchTerm, item.texts)


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Search a prompt for every item of config.dataset; returns what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no prompt was found at all.
    """
    optimizer, adapter, corpus = build(config.optimizer), build(config.adapter), build(config.corpus)
    term_weights(config.objective)
    data = build(config.dataset)
    trainer = build_trainer(config.trainer)
    device = trainer.strategy.root_device
    models = load_models(config, device)
    lm = models[PRIMARY]
    require(isinstance(lm, CausalLM), "models.lm", lm.name, "a causal language model, such as smollm2_135m")
    files = {role: model.weights.files for role, model in models.items() if model.weights is not None}
    directory.open(device=str(device), weights=files)
    begun = time.perf_counter()
    adapters = {}
    if optimizer.uses_gradients:
        adapters = fit_adapters(models, adapter, corpus.words(), cache_folder(config.cache_dir))
    fit_seconds = time.perf_counter() - begun
    objective = build_objective(config.objective, models, adapters)
    require(
        any(isinstance(term, TextMatchTerm) for term in objective.terms.values()),
        "objective",
        list(config.objective),
        "one with a TextMatchTerm of a weight above 0, such as objective=invert",
    )
    module = PromptInversionModule(
        cast(CausalLM, lm), models, objective, optimizer, config.runner.prefix, directory
    )
    trainer.predict(module, datamodule=data, return_predictions=False)
    timing = {
        "adapter_seconds": fit_seconds,
        "seconds_per_item": fmean(module.seconds) if module.seconds else None,
        "items_timed": len(module.seconds),
    }
    return _results(directory) | {"timing": timing}


def _results(directory: RunDirectory) -> dict[str, Any]:
    records = directory.records()
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise UsageError(f"no prompt was found; the first error: {records[0]['error']}")
    return {
        "runner": "invert",
        **summarise(records),
        "metrics": inversion_metrics([row["text"] for row in done], [row["targets"] for row in done]),
        "metrics_note": "Word F1 and exact match in percent, prefix included, against the nearest target.",
    }
