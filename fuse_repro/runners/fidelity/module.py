"""The fidelity of adapters as Lightning's predict loop: an item is a prompt with one open token."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.fidelity.instrument import Instrument
from fuse_repro.runners.fidelity.prompts import FidelityPrompt
from fuse_repro.runners.fidelity.results import summary
from fuse_repro.runs.directory import RunDirectory


class AdapterFidelityModule(pl.LightningModule):
    """Appends a record per prompt and objective to the run directory; those that have one are passed over.

    Args:
        instrument: what measures one prompt. It refers to models and maps, which the module owns, so that
            Lightning moves them.
        models: role -> model.
        prompts: what to measure, in this order.
        directory: opened.

    Attributes:
        advance: told how many records were appended.
    """

    def __init__(
        self,
        instrument: Instrument,
        models: Mapping[str, FrozenModel],
        prompts: Sequence[FidelityPrompt],
        directory: RunDirectory,
    ) -> None:
        super().__init__()
        self.models = nn.ModuleList(models.values())
        self.maps = nn.ModuleList(
            fitted for of_role in instrument.maps.values() for fitted in of_role.values()
        )
        self.instrument = instrument
        self.prompts = prompts
        self.directory = directory
        self.advance: Callable[[float], None] = lambda records: None
        self._known = directory.known()
        self._results: dict[str, Any] = {}

    def missing(self, prompt: FidelityPrompt) -> list[str]:
        """The objectives for which the prompt has no record yet."""
        names = self.instrument.objectives(prompt)
        return [name for name in names if self.instrument.id(prompt, name) not in self._known]

    def predict_step(self, prompt: FidelityPrompt, batch_idx: int) -> None:
        """Measure one prompt."""
        if names := self.missing(prompt):
            begun = time.perf_counter()
            records = self.instrument.measure(prompt, names)
            share = (time.perf_counter() - begun) / len(names)
            for record in records:
                self.directory.append(record, share)
                self._known.add(record["id"])
                self.advance(1)

    def on_predict_end(self) -> None:
        """Join the records in tables. Raises UsageError where nothing could be measured."""
        self._results = summary(self.directory.records(), self.instrument.ks)

    def results(self) -> dict[str, Any]:
        """What results.json holds, once the loop has ended."""
        return self._results

    def predict_dataloader(self) -> DataLoader:
        """A loader without batches: every step is one prompt."""
        return DataLoader(self.prompts, batch_size=None, num_workers=0, collate_fn=_identity)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Prompts hold no tensors and stay where they are."""
        return batch


def _identity(prompt: FidelityPrompt) -> FidelityPrompt:
    return prompt
