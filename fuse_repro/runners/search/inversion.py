"""The inversion run: from texts' embeddings to prompts that have them (with a language model's fluency)."""

from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from fuse_repro.data.texts import TextItem
from fuse_repro.errors import require
from fuse_repro.metrics.inversion import inversion_metrics
from fuse_repro.objectives import TextMatchTerm
from fuse_repro.runners.assemble import prepare_search
from fuse_repro.runners.objective import build_objective
from fuse_repro.runners.search.module import (
    PromptSearchModule,
    done_records,
    joined_timing,
    mean_targets,
    summarise,
    timing,
)
from fuse_repro.runners.shards import Merging
from fuse_repro.runners.values import check_settings
from fuse_repro.runs.directory import RunDirectory


class InversionSettings:
    """What conf/runner/invert.yaml holds."""

    prefix: str


class PromptInversionModule(PromptSearchModule):
    """Searches a prompt for every text, or for several texts together: its distance is the mean of those to each."""

    def measure(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Counts, objective, and how near the prompts are to the texts in words."""
        return measured(records)

    def _sought(self, item: TextItem) -> dict[str, Any]:
        return {"targets": list(item.texts)}

    def _origin(self, item: TextItem) -> dict[str, Any]:
        return {"references": []}

    def _targets(self, item: TextItem) -> dict[str, Tensor]:
        return mean_targets(self.objective, TextMatchTerm, item.texts)


def measured(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What results.json holds of inverted texts. Raises UsageError where no prompt was found."""
    done = done_records(records, "no prompt was found")
    return {
        "runner": "invert",
        **summarise(records),
        "metrics": inversion_metrics([row["text"] for row in done], [row["targets"] for row in done]),
        "metrics_note": "Word F1 and exact match in percent, prefix included, against the nearest target.",
    }


MERGING = Merging(
    record_ids=lambda config, item: [[item]],
    results=lambda config, records: measured(records),
    timing=joined_timing,
)


def run(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Search a prompt for every item of config.dataset; returns what results.json holds.

    Raises UsageError for settings or data that cannot be used, and where no prompt was found at all.
    """
    check_settings("runner", config.runner, InversionSettings)
    parts = prepare_search(config, directory)
    objective = build_objective(config.objective, parts.models, parts.adapters)
    require(
        any(isinstance(term, TextMatchTerm) for term in objective.terms.values()),
        "objective",
        list(config.objective),
        "one with a TextMatchTerm of a weight above 0, such as objective=invert",
    )
    module = PromptInversionModule(
        parts.lm, parts.models, objective, parts.optimizer, config.runner.prefix, directory
    )
    module.search_all(parts.trainer, parts.data)
    return module.results() | {"timing": timing(parts.fit_seconds, module.seconds, parts.adapters)}
