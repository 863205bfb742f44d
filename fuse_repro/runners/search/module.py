"""Discrete prompt search over a data set, as Lightning's predict loop."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.data.images import ImageItem, load_image
from fuse_repro.data.item_data import ItemData
from fuse_repro.errors import UsageError, first_line
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.metering import summed
from fuse_repro.objectives import EmbeddingMatchTerm, ImageMatchTerm, MultiObjectiveLoss
from fuse_repro.progress import bar
from fuse_repro.runners.search.together import together
from fuse_repro.runners.shards import NOT_READ
from fuse_repro.runners.trainer import looked_at, predict, said_left_out
from fuse_repro.runs.directory import RunDirectory
from fuse_repro.search import Hypothesis, Optimizer, PromptProblem, SearchResult
from fuse_repro.search.lockstep import searched


class PromptSearchModule(pl.LightningModule):
    """Searches a prompt for every photograph and appends a record of each to the run directory.

    A photograph that cannot be used becomes a failed record, and the others go on; one that has a record
    already, from an earlier start of the same run, is passed over. An item of several photographs has one prompt,
    whose distance to them is the mean of its distances to each.

    Several items are searched for side by side (`optimizer.together`). Records are written in the order of the data
    set all the same: one that is ready waits for those before it.

    What needs a model is in the record: when the loop has ended, Lightning takes the models back to the CPU, and who
    joins the records of several runs has none. A kind of search says in `measure` what comes of the records.
    """

    def __init__(
        self,
        lm: CausalLM,
        models: Mapping[str, FrozenModel],
        objective: MultiObjectiveLoss,
        optimizer: Optimizer,
        prefix: str,
        directory: RunDirectory,
    ) -> None:
        super().__init__()
        self.lm = lm
        self.models = nn.ModuleDict(models)
        self.objective = objective
        self.optimizer = optimizer
        self.prefix = prefix
        self.directory = directory
        self.seconds: list[float] = []
        self.advance: Callable[[float], None] = lambda items: None
        self.together = 1
        self._waiting: list[Any] = []
        self._known = directory.known()
        self._results: dict[str, Any] = {}
        self._not_read: dict[str, int] = {}

    def search_all(self, trainer: pl.Trainer, data: Any) -> None:
        """Search for every item of `data` that has no record yet.

        Raises UsageError as `predict` and `on_predict_end` do.
        """
        self._not_read = dict(getattr(data, NOT_READ, {}))
        own = data.own_items() if isinstance(data, ItemData) else data.items
        ids = [name for item in looked_at(trainer, own) for name in self.record_ids(item)]
        self.directory.expect(len(ids))
        self.together = together(self.optimizer, self.lm, self.objective)
        with bar("searching", sum(name not in self._known for name in ids)) as self.advance:
            predict(trainer, self, datamodule=data)

    def record_ids(self, item: Any) -> list[str]:
        """The ids of an item's records."""
        return [item.id]

    def parts(self, item: Any) -> list[tuple[MultiObjectiveLoss, Any]]:
        """What is searched for an item: for every record of it the objective, and the item under the record's id."""
        return [(self.objective, item)]

    def predict_step(self, item: ImageItem, batch_idx: int) -> None:
        """Caption the photographs that wait, once they are as many as are captioned together."""
        if not self._known.issuperset(self.record_ids(item)):
            self._waiting.append(item)
        if len(self._waiting) >= self.together or self._is_last(batch_idx):
            self._search_waiting()

    def _is_last(self, batch_idx: int) -> bool:
        return self.together > 1 and batch_idx + 1 >= sum(self.trainer.num_predict_batches)

    def _search_waiting(self) -> None:
        """Search for all items that wait, and write their records in order, each as soon as it can be written."""
        parts = [part for item in self._waiting for part in self.parts(item) if part[1].id not in self._known]
        self._waiting = []
        left = [item.id for _, item in parts]
        ready: dict[str, tuple[dict[str, Any], float]] = {}
        for objective in dict.fromkeys(objective for objective, _ in parts):
            self.objective = objective
            for item, record, seconds in self._searched([item for own, item in parts if own is objective]):
                ready[item.id] = {"id": item.id, **self._sought(item)} | record, seconds
                while left and left[0] in ready:
                    self._write(*ready.pop(left.pop(0)))

    def _write(self, record: dict[str, Any], seconds: float) -> None:
        self.seconds.append(seconds)
        self.directory.append(record, seconds)
        self._known.add(record["id"])
        self.advance(1)

    def on_predict_end(self) -> None:
        """Measure the run's records. Raises UsageError where every item failed."""
        self._results = self.measure(self.directory.records())

    def measure(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """What results.json holds of all records. Raises UsageError where none is done."""
        done_records(records, "nothing was found")
        return {"runner": "search", **summarise(records)}

    def results(self) -> dict[str, Any]:
        """What results.json holds, once the loop has ended."""
        not_read = {NOT_READ: self._not_read} if self._not_read else {}
        return self._results | said_left_out(self.trainer) | not_read

    def _searched(self, items: Sequence[Any]) -> Iterator[tuple[Any, dict[str, Any], float]]:
        """The items' records and what each took, in seconds: each as its search ends."""
        problems, wanted = [], []
        for item in items:
            begun = time.perf_counter()
            try:
                problems.append(self._problem(item))
            except UsageError as error:
                yield item, _failed(error), time.perf_counter() - begun
            else:
                wanted.append((item, time.perf_counter() - begun))
        if not wanted:
            return
        name = wanted[0][0].id if len(wanted) == 1 else f"{len(wanted)} items side by side"
        with bar(f"searching for {name}") as advance:

            def stepped(beam: Sequence[Hypothesis]) -> None:
                advance(1)
                self._stepped(beam)

            for ended in searched(self.optimizer, problems, stepped):
                item, before = wanted[ended.number]
                begun = time.perf_counter()
                try:
                    record = self._record(item, ended.found()) | {"cost": ended.cost}
                except UsageError as error:
                    record = _failed(error)
                yield item, record, before + ended.seconds + time.perf_counter() - begun

    def _problem(self, item: Any) -> PromptProblem:
        """What is minimised for an item."""
        return PromptProblem(self.lm, self.objective, self.prefix, self._targets(item))

    def _stepped(self, beam: Sequence[Hypothesis]) -> None:
        """Called after every step of a search."""

    def _sought(self, item: Any) -> dict[str, Any]:
        """What a prompt is searched for, for the record."""
        more = {"images": [str(path) for path in item.paths]} if item.more else {}
        return {"image": str(item.path), **more}

    def _origin(self, item: Any) -> dict[str, Any]:
        """Where it comes from, and what people wrote about it, for the record."""
        return {"license": item.license, "source": item.source, "references": list(item.references)}

    def _targets(self, item: Any) -> Mapping[str, Any]:
        """Term name -> what the term aims at; here, what its model should match, [e]."""
        images = [load_image(path) for path in item.paths]
        return mean_targets(self.objective, ImageMatchTerm, images)

    def _record(self, item: Any, found: SearchResult) -> dict[str, Any]:
        best = found.best
        weights = self.objective.weights
        return {
            "status": "done",
            **self._origin(item),
            "prefix": self.prefix,
            "text": best.text,
            "caption": without_prefix(best.text, self.prefix),
            "finished": best.finished,
            "evaluations": found.evaluations,
            "gradients": found.gradients,
            "objective": best.objective,
            "terms": {name: {**values, "weight": weights[name]} for name, values in best.terms.items()},
            "steps": [{"beam": [_step_row(hypothesis) for hypothesis in beam]} for beam in found.steps],
        }


def _failed(error: UsageError) -> dict[str, Any]:
    return {"status": "failed", "error": first_line(error)}


def mean_targets(
    objective: MultiObjectiveLoss, kind: type[EmbeddingMatchTerm], items: Sequence[Any]
) -> dict[str, Tensor]:
    """The mean of the items' unit embeddings, for every term of this kind: name -> [e].

    1 - <prompt, mean> is the mean of 1 - <prompt, target> over the targets, so that one prompt is searched for all.
    """
    terms = objective.terms.items()
    return {
        name: torch.stack([term.target(item) for item in items]).mean(0)
        for name, term in terms
        if isinstance(term, kind)
    }


def without_prefix(text: str, prefix: str) -> str:
    """What was found: a prompt without what it had to begin with."""
    return text.removeprefix(prefix).strip()


def _step_row(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "text": hypothesis.text,
        "parent": hypothesis.parent,
        "finished": hypothesis.finished,
        "objective": hypothesis.objective,
        "terms": {name: values["weighted"] for name, values in hypothesis.terms.items()},
    }


def done_records(records: Sequence[Mapping[str, Any]], nothing: str) -> list[Mapping[str, Any]]:
    """The records that are done. Raises UsageError where there is none, which says that `nothing` came out."""
    done = [record for record in records if record["status"] == "done"]
    if not done:
        reason = records[0]["error"] if records else "no item was searched for"
        raise UsageError(f"{nothing}; the first error: {reason}")
    return done


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts, the mean objective with its terms over the items that were done, and what they cost together."""
    done = [record for record in records if record["status"] == "done"]
    summary: dict[str, Any] = {"items": {"done": len(done), "failed": len(records) - len(done)}}
    if done:
        names = done[0]["terms"]
        summary["objective"] = {
            "mean": fmean(record["objective"] for record in done),
            "terms": {
                name: {
                    kind: fmean(record["terms"][name][kind] for record in done)
                    for kind in ("raw", "weighted")
                }
                for name in names
            },
        }
    return summary | summed(done)


def timing(
    fit_seconds: float, seconds: Sequence[float], adapters: Mapping[str, EmbeddingMap]
) -> dict[str, Any]:
    """What fitting the adapters took, and the mean time of the items that were searched for in this start.

    Trained adapters say besides what their training took, which may have been in an earlier run.
    """
    mean = fmean(seconds) if seconds else None
    costs = {role: adapter.fit_cost for role, adapter in adapters.items() if adapter.fit_cost}
    known = {"adapter_seconds": fit_seconds, "seconds_per_item": mean, "items_timed": len(seconds)}
    return known | ({"training": costs} if costs else {})


def joined_timing(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The timing of several runs: the sum of their seconds for adapters, and the mean time over all their items."""
    timed = [(part["seconds_per_item"], part["items_timed"]) for part in parts if part["items_timed"]]
    items = sum(count for _, count in timed)
    return {
        "adapter_seconds": sum(part["adapter_seconds"] for part in parts),
        "seconds_per_item": sum(mean * count for mean, count in timed) / items if items else None,
        "items_timed": items,
        **{key: value for part in parts[:1] for key, value in part.items() if key == "training"},
    }
