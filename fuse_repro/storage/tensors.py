"""Fitted maps on disk: safetensors, found by a key that hashes everything that went into the fit."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fuse_repro.errors import UsageError


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def words_digest(words: Sequence[str]) -> str:
    """sha256 of a list of words, order included."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def cache_path(cache_dir: Path, inputs: Mapping[str, Any]) -> Path:
    """Where the maps fitted from `inputs` are kept."""
    return cache_dir / "adapters" / f"{inputs['kind']}-{digest(inputs)[:32]}.safetensors"


def save(path: Path, tensors: Mapping[str, Tensor], inputs: Mapping[str, Any]) -> None:
    """Write `tensors` and what they were fitted from; the file appears whole or not at all.

    Raises:
        UsageError: the folder cannot be written.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        try:
            save_file(contiguous, temporary, metadata={"inputs": json.dumps(inputs, sort_keys=True)})
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write the fitted adapter to {path.parent} ({error.strerror}): "
            "choose a writable folder with cache_dir=..."
        ) from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote: tensors and inputs.

    Raises:
        UsageError: a missing or damaged file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            inputs = json.loads((file.metadata() or {})["inputs"])
            return {name: file.get_tensor(name) for name in file.keys()}, inputs  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is not an adapter saved by fuse_repro ({error}): fit it again") from error
