"""Number formats by name, as settings write them: their size, and who may use which. Importable without torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}  # of one number
WEIGHTS = ("float32", "bfloat16", "float16")  # of frozen models, and of stored tables of embeddings
FITS = ("float32", "float64")  # of maps while they are fitted


def torch_dtype(name: str) -> "torch.dtype":
    """The dtype of torch for the format `name`, one of `BYTES`."""
    import torch

    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found
