"""Lightning's checkpoints: written whole, and looked at before they are used."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from fuse_repro.errors import first_line
from fuse_repro.storage.files import write_bytes
from fuse_repro.storage.tensors import CACHE, Damaged

KEYS: tuple[tuple[str, type], ...] = (
    ("epoch", int),
    ("global_step", int),
    ("state_dict", dict),
    ("loops", dict),
    ("callbacks", dict),
    ("optimizer_states", list),
    ("lr_schedulers", list),
)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there, however their writing ends."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint. Raises UsageError if it cannot be written."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), buffer.getvalue(), CACHE)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of Lightning, on the CPU.

    Raises:
        Damaged: anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself passes over the checksums
            torn = archive.testzip()
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling makes of garbage
        raise Damaged(f"{path} is damaged ({first_line(error)})") from error
    if torn is not None:
        raise Damaged(f"{path} is damaged (the checksum of {torn} is another)")
    if not isinstance(checkpoint, dict) or any(
        not isinstance(checkpoint.get(key), kind) for key, kind in KEYS
    ):
        raise Damaged(f"{path} is no checkpoint of Lightning")
    return checkpoint
