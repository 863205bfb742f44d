"""Known truth as Lightning's predict loop: an item is a pair of models."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fuse_repro.runners.known_truth.measure import Measuring
from fuse_repro.runners.known_truth.points import Place
from fuse_repro.runners.known_truth.results import summary
from fuse_repro.runs.directory import RunDirectory


class KnownTruthModule(pl.LightningModule):
    """Appends a record per pair to the run directory; those that have one are passed over.

    Args:
        measuring: makes the records.
        places: what to measure, in this order.
        directory: opened.

    Attributes:
        advance: told how many records were appended.
    """

    def __init__(self, measuring: Measuring, places: Sequence[Place], directory: RunDirectory) -> None:
        super().__init__()
        self.measuring, self.directory = measuring, directory
        known = directory.known()
        self.places = [place for place in places if place.id not in known]
        self.advance: Callable[[float], None] = lambda records: None

    def predict_step(self, place: Place, batch_idx: int) -> None:
        """Measure one pair."""
        begun = time.perf_counter()
        record = self.measuring.record(place)
        self.directory.append(record, time.perf_counter() - begun)
        self.advance(1)

    def results(self) -> dict[str, Any]:
        """What results.json holds. Raises UsageError where nothing could be measured."""
        return summary(self.directory.records(), self.measuring.plan)

    def predict_dataloader(self) -> DataLoader:
        """A loader without batches: every step is one pair."""
        return DataLoader(self.places, batch_size=None, num_workers=0, collate_fn=_identity)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Places hold no tensors and stay where they are."""
        return batch


def _identity(place: Place) -> Place:
    return place
