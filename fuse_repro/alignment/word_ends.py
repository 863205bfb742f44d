"""Where a text may be cut so that a tokenizer reads and writes both parts one by one.

A cut lies between A, whose last character is a *word end*, and B, which begins with a space. There

    tokens(A + B) = tokens(A) + later(B)    and    text(x + y) = text(x) + later text(y)

where `later` does not depend on A, as long as A is not empty. Here is why, for the usual parts of a tokenizer.json.
A tokenizer with any other part has no word ends, and texts must be read whole.

- Added tokens are looked for first. No token holds a word end and a space after it, so none lies across the cut. None
  ends in a word end, so none stands right before it and takes the space away, or makes B the beginning of a text.
- Normalisers change ASCII before a space, and a space, by themselves: composition and Unicode's other rules for
  neighbours bind marks to what is before them, and a space is no mark. Those that change the beginning or the
  end of a text meet the same ones with any A.
- Pre-tokenizers of the kinds below look at no character before a piece, and no piece has a space after another
  character. So one piece ends at the cut, and models never see both sides.
- Without such a pre-tokenizer, BPE joins neighbours into tokens that its vocabulary holds. A character that no token
  has in front of a space mark is a word end.
- Decoders put tokens one behind the other. The first token of a text and the last one may be written in another way;
  A has the first, B the last. Runs of bytes that are no text become marks that no tokenizer reads as those bytes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

PRINTABLE = frozenset(map(chr, range(33, 127)))
MARK = "▁"  # how SentencePiece writes a space
NORMALIZERS = (
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Prepend",
    "Strip",
    "StripAccents",
)  # not Precompiled: its map may do anything to any character
SPACES = (r"\s+", " {2,}")  # patterns that normalisers replace by one space
KEEP = ("Digits", "Punctuation")  # pre-tokenizers that split further, but not at spaces
CUT = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
PATTERNS = (  # of pre-tokenizers: CLIP's, and those of GPT-4's family (Llama 3, Qwen 2)
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    *(
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
        for digits in (r"\p{N}{1,3}", r"\p{N}")
    ),
)
DECODERS = ("BPEDecoder", "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "WordPiece")
Part = Mapping[str, Any]


def word_ends(state: Part) -> frozenset[str]:
    """The word ends of a tokenizer, printable ASCII characters; empty where texts must be read whole.

    Args:
        state: what its tokenizer.json holds.
    """
    added, model = state["added_tokens"], state["model"]
    normalizers = list(_parts(state["normalizer"], "normalizers"))
    splitters = list(_parts(state["pre_tokenizer"], "pretokenizers"))
    if splitters and _writes_bytes(splitters[-1]):
        splitters.pop()
    decoders = list(_parts(state["decoder"], "decoders"))
    marked = any(_marks_spaces(part) for part in normalizers)
    known = (
        all(part["type"] in NORMALIZERS or _marks_spaces(part) or _joins_spaces(part) for part in normalizers)
        and all(_cuts(part, marked) or _keeps(part, marked) for part in splitters)
        and bool(decoders)
        and all(part["type"] in DECODERS or _writes_spaces(part) for part in decoders)
        and not any(token["single_word"] for token in added)
    )
    if not known:
        return frozenset()
    contents = [token["content"] for token in added]
    ends = PRINTABLE - {content[-1:] for content in contents} - _before_spaces(contents)
    if any(_cuts(part, marked) for part in splitters):
        return ends
    whole = model["type"] == "BPE" and marked and MARK in model["vocab"] and not model["end_of_word_suffix"]
    return ends - _before_spaces(model["vocab"]) if whole else frozenset()


def writes_apart(state: Part) -> bool:
    """Whether the text of tokens is that of each token, one behind the other, after a text that begins otherwise.

    Not so where the end of a word is written as a space, but for the last one (CLIP). Bytes that are no text alone are
    another exception: a text with U+FFFD must be decoded whole.

    Args:
        state: what a tokenizer.json with word ends holds.
    """
    kinds = {part["type"] for part in _parts(state["decoder"], "decoders")}
    return "BPEDecoder" not in kinds and not state["model"].get("end_of_word_suffix")


def last_cut(text: str, ends: frozenset[str]) -> int:
    """Where the last word of a text begins, its space included; 0 where the text cannot be cut."""
    place = text.rfind(" ")
    while place > 0 and text[place - 1] not in ends:
        place = text.rfind(" ", 0, place)
    return max(place, 0)


def _parts(part: Part | None, inner: str) -> Iterable[Part]:
    """A part of a tokenizer, or those that it is a sequence of."""
    if part is None:
        return
    if part["type"] == "Sequence":
        for nested in part[inner]:
            yield from _parts(nested, inner)
    else:
        yield part


def _marks_spaces(part: Part) -> bool:
    """A normaliser that writes every space as a mark."""
    return part["type"] == "Replace" and part["pattern"] == {"String": " "} and part["content"] == MARK


def _joins_spaces(part: Part) -> bool:
    """A normaliser that makes one space of several."""
    return part["type"] == "Replace" and part["pattern"].get("Regex") in SPACES and part["content"] == " "


def _cuts(part: Part, marked: bool) -> bool:
    """A pre-tokenizer without a piece that has a space, or its mark, after another character."""
    kind = part["type"]
    if marked and kind != "Metaspace":
        return False
    if kind == "ByteLevel":
        return bool(part["use_regex"])
    if kind == "Metaspace":
        return bool(part["split"]) and part["replacement"] == MARK
    if kind == "Split":
        whole = ("Removed", True), ("Isolated", False)
        return part["pattern"].get("Regex") in PATTERNS and (part["behavior"], part["invert"]) in whole
    return kind in CUT


def _keeps(part: Part, marked: bool) -> bool:
    """A pre-tokenizer that may leave both sides of a cut in one piece, and changes neither."""
    kind = part["type"]
    nothing = kind == "Split" and marked and part["pattern"] == {"String": " "}  # there is no space any more
    return nothing or kind in KEEP


def _writes_bytes(part: Part) -> bool:
    """A pre-tokenizer that writes pieces as bytes and leaves them whole."""
    return part["type"] == "ByteLevel" and not part["use_regex"] and not part["add_prefix_space"]


def _writes_spaces(part: Part) -> bool:
    """A decoder that writes marks as spaces, or takes them from the beginning of a text."""
    if part["type"] == "Replace":
        return part["pattern"] == {"String": MARK} and part["content"] == " "
    return part["type"] == "Strip" and part["stop"] == 0


def _before_spaces(tokens: Iterable[str]) -> set[str]:
    """Characters that stand in front of a space, or of its mark, in any of the tokens."""
    return {found[0] for token in tokens for found in re.findall(rf"\S(?=[\s{MARK}])", token)}
