"""Lightning's checkpoints of a prompt that is being tuned: written whole, and looked at before they are used."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuse_repro.storage.checkpoints import read_checkpoint
from fuse_repro.storage.tensors import Damaged

BEST, LAST = "best.ckpt", "last.ckpt"
GROUP = "group"  # the key under which a checkpoint of several prompts has their keys and progress


def resumable(folder: Path, prompt: Tensor) -> Path | None:
    """The checkpoint in `folder` that tuning goes on from; None where there is none.

    Damaged ones are removed, which is said on standard error, so that tuning starts anew.

    Args:
        folder: with the checkpoints of one tuning.
        prompt: [m, d], as it is where tuning starts.
    """
    last, best = folder / LAST, folder / BEST
    if not last.exists():
        return None
    try:
        _check(best, prompt)
        kept = _check(last, prompt)
        known = [
            state.get("best_model_path") for state in kept["callbacks"].values() if isinstance(state, dict)
        ]
        if os.path.realpath(best) not in known:
            raise Damaged(f"{last} does not belong to {best}")
    except Damaged as error:
        _start_anew(error, last, best)
        return None
    return last


def group_keys(folder: Path, known: Sequence[str]) -> list[str] | None:
    """The keys of the prompts that a stopped group in `folder` consists of; None where there is no such group.

    A damaged checkpoint is removed, which is said on standard error.

    Args:
        folder: with the checkpoint of one group.
        known: the keys that the group may have.
    """
    last = folder / LAST
    if not last.exists():
        return None
    try:
        keys = _group(last)["keys"]
        if not isinstance(keys, list) or not keys or not set(keys) <= set(known):
            raise Damaged(f"{last} is a checkpoint of other prompts")
    except Damaged as error:
        _start_anew(error, last)
        return None
    return keys


def resumable_group(folder: Path, state: Mapping[str, Tensor]) -> Path | None:
    """The checkpoint in `folder` that a group goes on from, as `resumable`.

    Args:
        folder: with the checkpoint of one group.
        state: the group's tensors, as they are where tuning starts.
    """
    last = folder / LAST
    if not last.exists():
        return None
    try:
        kept = _group(last)["state"]
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in kept.items()} != shapes:
            raise Damaged(f"{last} holds other prompts")
    except Damaged as error:
        _start_anew(error, last)
        return None
    return last


def _group(path: Path) -> dict[str, Any]:
    """Keys, progress and tensors of a group's checkpoint. Raises Damaged for anything else."""
    checkpoint = read_checkpoint(path)
    found, state = checkpoint.get(GROUP), checkpoint["state_dict"]
    tensors = all(isinstance(tensor, Tensor) for tensor in state.values())
    if not isinstance(found, dict) or not {"keys", "progress", "unread"} <= set(found) or not tensors:
        raise Damaged(f"{path} is no checkpoint of several prompts")
    return {**found, "state": state}


def _start_anew(error: Damaged, *paths: Path) -> None:
    print(f"fuse-repro: {error}: tuning starts anew", file=sys.stderr)
    for path in paths:
        path.unlink(missing_ok=True)


def _check(path: Path, prompt: Tensor) -> dict[str, Any]:
    """A checkpoint of this prompt. Raises Damaged for anything else."""
    checkpoint = read_checkpoint(path)
    state = checkpoint["state_dict"]
    kept = state.get("prompt") if len(state) == 1 else None
    if not isinstance(kept, Tensor) or (kept.shape, kept.dtype) != (prompt.shape, prompt.dtype):
        raise Damaged(f"{path} holds no prompt of shape {list(prompt.shape)} and dtype {prompt.dtype} alone")
    numbers = (state, checkpoint["optimizer_states"])
    if not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(numbers)):
        raise Damaged(f"{path} holds values that are not finite numbers")
    return checkpoint


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
