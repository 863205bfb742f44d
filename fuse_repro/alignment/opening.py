"""Where the parts of a text begin among its tokens, where every part begins with a space: known without any offset.

A byte-level BPE writes each byte of a text into exactly one token, and a space as a letter that stands for no other
byte. So the spaces in the tokens are those in the text, in order. Where they are not as many, something else took some
(an added token), and nothing is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy
from numpy.typing import NDArray

SPACE = "Ġ"  # how byte-level tokenizers write a space


@dataclass(frozen=True)
class Opening:
    """The spaces in the tokens of a byte-level BPE.

    Attributes:
        spaces: [V], how many every token holds.
        first: [V], whether it begins with one.
    """

    spaces: NDArray[numpy.int64]
    first: NDArray[numpy.bool_]

    def begins(self, ids: Sequence[int], parts: Sequence[str]) -> list[int] | None:
        """The places of the tokens that the second part and all later ones begin with; None where it is not known.

        Args:
            ids: of the whole text.
            parts: what it is made of.
        """
        if not all(part[0] == " " for part in parts[1:]):
            return None
        tokens = numpy.fromiter(ids, numpy.int64, len(ids))
        seen = self.spaces[tokens].cumsum()
        before = list(accumulate(part.count(" ") for part in parts))
        if len(tokens) == 0 or seen[-1] != before[-1]:
            return None
        found = seen.searchsorted(before[:-1], side="right")
        opened = tokens[found]
        exact = self.first[opened] & (seen[found] - self.spaces[opened] == before[:-1])
        return found.tolist() if exact.all() else None


def opening_of(state: Mapping[str, Any], size: int) -> Opening | None:
    """The spaces in a tokenizer's tokens; None for one that may add spaces, or take them away.

    Args:
        state: what its tokenizer.json holds.
        size: V, how many tokens it has.
    """
    splitter, model = state["pre_tokenizer"] or {}, state["model"]
    splitters = splitter.get("pretokenizers", [splitter])
    bytes_apart = [part for part in splitters if part.get("type") == "ByteLevel"]
    plain = (
        model["type"] == "BPE"
        and not model.get("end_of_word_suffix")
        and state["normalizer"] is None
        and len(bytes_apart) == 1
        and not bytes_apart[0]["add_prefix_space"]
    )
    if not plain:
        return None
    added = {token["id"] for token in state["added_tokens"]}
    spaces, first = numpy.zeros(size, dtype=numpy.int64), numpy.zeros(size, dtype=numpy.bool_)
    for token, index in model["vocab"].items():
        if SPACE in token and index not in added:
            spaces[index], first[index] = token.count(SPACE), token.startswith(SPACE)
    return Opening(spaces, first)
