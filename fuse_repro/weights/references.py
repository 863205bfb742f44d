"""What the files of a weights folder may refer to: safetensors files below that folder, and nothing else.

Symbolic links are followed wherever they lead, since the hub's own snapshots are made of them: what is hashed for the
manifest is what is read through them. In a folder of the cache there are none, and one that leads out is damage.
"""

import json
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import open_regular, require_regular
from fuse_repro.weights.listing import is_inside

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
PROCESSOR = "preprocessor_config.json"
SUFFIXES = (
    ".safetensors",
    ".json",
    ".txt",
    ".model",
)  # of the files that models and tokenizers are loaded from
AGAIN = "save the whole model again with transformers (save_pretrained)"


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a weights folder.

    Raises:
        UsageError: the file cannot be read, or holds anything else.
    """
    try:
        with open_regular(path) as file:
            value = json.loads(file.read())
    except RecursionError as err:
        raise UsageError(f"{path} is nested too deeply to be read: {AGAIN}") from err
    except (OSError, ValueError) as err:
        raise UsageError(
            f"{path} is not JSON that can be read ({' '.join(str(err).split())}): {AGAIN}"
        ) from err
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds a {type(value).__name__} where an object belongs: {AGAIN}")
    return value


def check_references(folder: Path) -> list[str]:
    """The weight files that the indexes of a folder name, relative to it, sorted; they need not be there.

    Raises:
        UsageError: an index or config.json names a file outside the folder or one that is not safetensors, is no JSON
            object, or the folder holds an adapter, which transformers would put on the model without a word; or a named
            pipe, device or socket, which a library would wait for.
    """
    _refuse_special_files(folder)
    if (folder / ADAPTER).is_file():
        raise UsageError(
            f"{folder} holds an adapter ({ADAPTER}), which belongs to a model elsewhere: merge it into its model "
            "(merge_and_unload) and save that, or remove the adapter's files"
        )
    if (folder / CONFIG).is_file():
        named = read_object(folder / CONFIG).get("transformers_weights")
        if named is not None and not (isinstance(named, str) and is_inside(named) and "/" not in named):
            raise UsageError(_refusal(folder / CONFIG, "transformers_weights", named))
    names: set[str] = set()
    for index in sorted(folder.glob("*.safetensors.index.json")):
        if index.is_file():
            weights = read_object(index).get("weight_map")
            if not isinstance(weights, dict):
                raise UsageError(f"{index} has no object weight_map: {AGAIN}")
            for name in weights.values():
                if not (isinstance(name, str) and is_inside(name) and name.endswith(".safetensors")):
                    raise UsageError(_refusal(index, "weight_map", name))
            names |= set(weights.values())
    return sorted(names)


def check_safetensors(folder: Path, what: str, origin: str, revision: str | None = None) -> list[str]:
    """See that every weight file is there and a safetensors file; pickled weights are not loaded.

    Args:
        folder: the files.
        what: they are, for the message.
        origin: what transformers loads them from: a repository or a folder.
        revision: of the repository; None for its main branch.

    Returns:
        What `check_references` does.

    Raises:
        UsageError: there are none, or one is missing; the message has the line that makes them of other weights.
    """
    wanted = check_references(folder)
    missing = [file for file in wanted if not (folder / file).is_file()]
    if missing or not any(file.is_file() for file in folder.glob("*.safetensors")):
        lacks = missing[0] if missing else "*.safetensors"
        raise UsageError(
            f"{what} lacks {lacks}: weights are loaded from safetensors only; convert them once with "
            f"{_conversion(folder, origin, revision)} and give the new folder as source=path, path=FOLDER"
        )
    return wanted


def _conversion(folder: Path, origin: str, revision: str | None) -> str:
    """The command that loads a model of any format and saves it as safetensors."""
    config = read_object(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    model = first if isinstance(first, str) and first.isidentifier() and first.isascii() else "AutoModel"
    other = "AutoProcessor" if (folder / PROCESSOR).is_file() else "AutoTokenizer"
    pinned = "" if revision is None else f", revision={revision!r}"
    code = (
        f"from transformers import {model} as M, {other} as T; "
        f"[kind.from_pretrained({origin!r}{pinned}).save_pretrained('FOLDER') for kind in (M, T)]"
    )
    return f'python -c "{code}"'


def _refuse_special_files(folder: Path) -> None:
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):  # libraries look no deeper
        if path.exists() and not path.is_dir():
            try:
                require_regular(path)
            except OSError as err:
                raise UsageError(f"{path} cannot be read ({err.strerror}): remove it, or {AGAIN}") from err


def _refusal(file: Path, key: str, named: object) -> str:
    return (
        f"{file} names {str(named)[:100]!r} in {key}: weights are loaded from safetensors files inside the folder "
        f"only; {AGAIN}"
    )
