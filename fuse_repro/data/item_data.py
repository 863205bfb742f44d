"""Data sets of photographs or texts, one item at a time for a predict loop."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from fuse_repro.data.shards import Divisible


class ItemData(Divisible, LightningDataModule):
    """A data module whose predict loader yields one item at a time, in a fixed order: those of its shard."""

    @property
    def items(self) -> Sequence[Any]:
        """Every item of the data set, in order; each has an `id` of its own."""
        raise NotImplementedError

    def names(self) -> list[str]:
        """The ids of all items, in order."""
        return [item.id for item in self.items]

    def own_items(self) -> Sequence[Any]:
        """The items of the run's shard, in order; all of them where there are no shards."""
        return self.division.part(self.items, self.names())

    def predict_dataloader(self) -> DataLoader:
        """A loader without batches: every step is one item."""
        own: Any = self.own_items()
        return DataLoader(own, batch_size=None, num_workers=0, collate_fn=_identity)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Items hold no tensors and stay where they are."""
        return batch


def _identity(item: Any) -> Any:
    return item
