"""From a weights folder to a ready transformers model and tokenizer; nothing here touches the network."""

import torch
from torch import nn

from fuse_repro.errors import UsageError, first_line, require
from fuse_repro.weights import WeightsEntry, resolve
from fuse_repro.weights.convert import quiet_transformers
from fuse_repro.words import WordTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_parts(
    auto_class: type, name: str, source: str, dtype: str, kwargs: dict, model_kwargs: dict | None = None
) -> tuple[nn.Module, WordTokenizer, WeightsEntry]:
    """Resolve the weights of a model and load them, with their tokenizer.

    Args:
        auto_class: the transformers class to load with.
        name: the model's name, for messages.
        source: `wheel`, `hub` or `path`.
        dtype: one of `DTYPES`.
        kwargs: `wheel`, `hub`, `path`, `cache_dir` for `fuse_repro.weights.resolve`.
        model_kwargs: more arguments for `auto_class.from_pretrained`.

    Raises:
        UsageError: unknown dtype, or anything wrong with the source or the files.
    """
    require(dtype in DTYPES, f"{name}.dtype", dtype, f"one of {', '.join(DTYPES)}")
    entry = resolve(name, source, **kwargs)
    with quiet_transformers():
        try:
            model = auto_class.from_pretrained(  # type: ignore[attr-defined]
                entry.directory,
                dtype=DTYPES[dtype],
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                **(model_kwargs or {}),
            )
        except (OSError, ValueError, KeyError, RuntimeError) as err:
            raise UsageError(f"{name}: cannot load {entry.directory} ({first_line(err)})") from err
    return model, load_tokenizer(name, entry), entry


def load_tokenizer(name: str, entry: WeightsEntry) -> WordTokenizer:
    """The tokenizer of a weights folder.

    Raises:
        UsageError: the folder holds none, or one without fast offsets.
    """
    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                entry.directory, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, ImportError) as err:
            raise UsageError(f"{name}: no tokenizer in {entry.directory} ({first_line(err)})") from err
    return WordTokenizer(tokenizer)
