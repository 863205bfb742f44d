"""A model in several GGUF files, as llama.cpp's gguf-split cuts large ones: joined to the one file that can be read."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError

PART = re.compile(r"-\d+-of-\d+$")  # how gguf-split ends the names of parts
COUNT, NUMBER = "split.count", "split.no"
LEFT_OUT = ("split.", "GGUF.", "general.architecture", "general.alignment")  # the writer has its own


def joined(folder: Path) -> Path:
    """The one GGUF file of `folder`; several parts are joined to it first, and removed.

    Raises:
        UsageError: a part that is missing, or files that are not the parts of one model.
    """
    from gguf import GGUFReader

    files = sorted(folder.glob("*.gguf"))
    readers = [GGUFReader(file) for file in files]
    names = ", ".join(file.name for file in files[:3])
    counts = {_number(reader, COUNT, 1) for reader in readers}
    count = max(counts)
    if len(counts) > 1 or (count == 1 and len(files) > 1):
        raise UsageError(f"{names} are not the parts of one GGUF file: give the files of one model only")
    numbers = sorted(_number(reader, NUMBER, 0) for reader in readers)
    if numbers != list(range(count)):
        raise UsageError(
            f"{names}: {len(set(numbers))} of {count} parts of a GGUF file: give all parts, each once"
        )
    if count == 1:
        return files[0]
    readers.sort(key=lambda reader: _number(reader, NUMBER, 0))
    target = folder / f"{PART.sub('', files[0].stem)}-joined.gguf"
    _write(readers, target)
    readers.clear()  # they map the files into memory
    for file in files:
        file.unlink()
    return target


def _write(readers: Sequence[Any], target: Path) -> None:
    """One file with the metadata of the first part and the tensors of all, as they are."""
    from gguf import GGUFValueType, GGUFWriter

    first = readers[0]
    architecture = first.get_field("general.architecture").contents()
    writer = GGUFWriter(target, architecture, endianess=first.endianess)
    for field in first.fields.values():
        if not field.name.startswith(LEFT_OUT):
            kind = field.types[0]
            items = field.types[-1] if kind == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=items)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data, tensor_endianess=first.endianess)
    writer.close()


def _number(reader: Any, key: str, otherwise: int) -> int:
    field = reader.get_field(key)
    return otherwise if field is None else int(field.contents())
