"""Tensors on disk: safetensors, found by a key that hashes everything they were made from, and checked when read."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.storage import files

CACHE = "a folder with cache_dir=..."
CHECKSUM = "sha256"
UNREADABLE = (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)


class Damaged(Exception):
    """A file is not what it should be; the text says in what."""


@dataclass(frozen=True)
class Expected:
    """What a tensor that is read must be, besides finite.

    Attributes:
        shape: sizes; None is any of at least 1.
        dtype: its number format.
    """

    shape: tuple[int | None, ...]
    dtype: torch.dtype = torch.float32


Expectation = Mapping[str, Expected]  # pattern of names -> what each must be; every pattern has one at least
Found = tuple[dict[str, Tensor], dict[str, Any]]


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def words_digest(words: Sequence[str]) -> str:
    """sha256 of a list of words, order included."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def cache_path(cache_dir: Path, inputs: Mapping[str, Any]) -> Path:
    """Where the tensors made from `inputs` are kept."""
    return cache_dir / "adapters" / f"{inputs['kind']}-{digest(inputs)[:32]}.safetensors"


def kept(
    cache_dir: Path | None,
    inputs: Mapping[str, Any],
    expect: Expectation,
    make: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """The tensors of `inputs`, found in the cache, or made now and kept there if they are finite.

    Args:
        cache_dir: None keeps nothing.
        inputs: everything that they depend on, JSON; `kind` names the file.
        expect: what they must be. A file that holds anything else is made again, which is said on standard error.
        make: makes them.

    Raises:
        UsageError: the cache cannot be written, and whatever `make` raises.
    """
    if cache_dir is None:
        return make()
    path = cache_path(cache_dir, inputs)
    found = find(path, inputs, expect)
    if found is not None:
        return found[0]
    files.make_folder(path.parent, CACHE)
    files.sweep_up(path.parent, files.DAY_S)
    tensors = make()
    if all(_finite(tensor) for tensor in tensors.values()):
        save(path, tensors, inputs, CACHE)
    return tensors


def find(path: Path, inputs: Mapping[str, Any], expect: Expectation, quiet: bool = False) -> Found | None:
    """What `save` wrote to `path`, and from what; None where there is nothing, or something else.

    Args:
        path: the file.
        inputs: what it must have been made from, at least.
        expect: what the tensors must be.
        quiet: do not say that a file is damaged.
    """
    if not path.exists():
        return None
    try:
        tensors, stored = _read(path)
        wanted = json.loads(json.dumps(inputs))
        different = sorted(key for key in wanted if stored.get(key) != wanted[key])
        if different:
            raise Damaged(f"it was made from another {', '.join(different)}")
        _check(tensors, expect)
    except Damaged as error:
        if not quiet:
            print(f"fuse-repro: {path} is damaged ({error}): it is made again", file=sys.stderr)
        return None
    return tensors, stored


def save(
    path: Path, tensors: Mapping[str, Tensor], inputs: Mapping[str, Any], elsewhere: str = "another folder"
) -> None:
    """Write `tensors` and what they were made from; the file appears whole or not at all.

    Args:
        path: the file.
        tensors: of any devices.
        inputs: JSON.
        elsewhere: where else the user may have it written, for the error.

    Raises:
        UsageError: if it cannot be written.
    """
    known = dict(inputs)
    write(
        path,
        tensors,
        {"inputs": json.dumps(known | {CHECKSUM: _sha256(tensors, known)}, sort_keys=True)},
        elsewhere,
    )


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], elsewhere: str) -> None:
    """Write a safetensors file whole; see `files.whole`."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.whole(path, elsewhere) as temporary:
        save_file(contiguous, temporary, metadata=dict(metadata) or None)


def load(path: Path, kind: str, expect: Callable[[dict[str, Any]], Expectation]) -> Found:
    """Read what `save` wrote: tensors and inputs; for a file that the user names.

    Args:
        path: the file.
        kind: of its inputs.
        expect: what the tensors must be, by the inputs.

    Raises:
        UsageError: a file that is missing, damaged, or of something else; and whatever `expect` raises.
    """
    try:
        tensors, stored = _read(path)
        if stored.get("kind") != kind:
            raise Damaged(f"its kind is {stored.get('kind')!r}, not {kind!r}")
        _check(tensors, expect(stored))
    except Damaged as error:
        raise UsageError(f"{path} is not an adapter saved by fuse_repro ({error}): fit it again") from error
    return tensors, stored


def open_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of any safetensors file.

    Raises:
        Damaged: it is none, whatever else it is.
    """
    if not path.is_file():
        raise Damaged("there is no such file" if not path.exists() else "it is no file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except UNREADABLE as error:
        raise Damaged(" ".join(str(error).split())) from error


def _read(path: Path) -> Found:
    """Tensors and inputs, which must agree with their checksum; files of earlier versions have none."""
    tensors, metadata = open_tensors(path)
    try:
        stored = json.loads(metadata["inputs"])
    except (KeyError, ValueError, RecursionError) as error:
        raise Damaged("it does not say what it was made from") from error
    if not isinstance(stored, dict):
        raise Damaged("it does not say what it was made from")
    if stored.pop(CHECKSUM, None) not in (None, _sha256(tensors, stored)):
        raise Damaged("its content does not have the checksum that was written with it")
    return tensors, stored


def _check(tensors: Mapping[str, Tensor], expect: Expectation) -> None:
    """Raise Damaged unless every tensor is one that is expected, and none is missing."""
    for pattern in expect:
        if not any(re.fullmatch(pattern, name) for name in tensors):
            raise Damaged(f"it holds no {pattern}")
    for name, tensor in tensors.items():
        want = next((want for pattern, want in expect.items() if re.fullmatch(pattern, name)), None)
        if want is None:
            raise Damaged(f"it holds {name!r}")
        pairs = list(zip(tensor.shape, want.shape, strict=False))
        if len(tensor.shape) != len(want.shape) or any(h != w if w is not None else h < 1 for h, w in pairs):
            sizes = ", ".join("any" if size is None else str(size) for size in want.shape)
            raise Damaged(f"its {name} has shape {list(tensor.shape)}, not [{sizes}]")
        if tensor.dtype != want.dtype:
            raise Damaged(f"its {name} has dtype {tensor.dtype}, not {want.dtype}")
        if not _finite(tensor):
            raise Damaged(f"its {name} holds values that are not finite numbers")


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _sha256(tensors: Mapping[str, Tensor], inputs: Mapping[str, Any]) -> str:
    """Of the bytes of all tensors, in the order of their names, and of the canonical JSON of the inputs."""
    result = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for name in sorted(tensors):
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        result.update(f"{name} {flat.dtype} {list(tensors[name].shape)}".encode())
        result.update(flat.view(torch.uint8).numpy().data)
    return result.hexdigest()
