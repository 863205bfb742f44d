"""The tokenizer.json of a tokenizer, changed so that equal texts have equal tokens, and every token has a row."""

import json
from collections.abc import Iterator
from typing import Any

import tokenizers

from fuse_repro.errors import UsageError


def private_state(tokenizer: Any, rows: int | None = None) -> dict[str, Any]:
    """The tokenizer.json of a copy without padding, truncation, dropout and clean-up of decoded spaces.

    Args:
        tokenizer: any transformers tokenizer backed by the `tokenizers` library.
        rows: how many ids there may be; added tokens beyond them are left out. None: any number.

    Raises:
        UsageError: a tokenizer without fast offsets (a slow one, or one whose backend cannot be copied).
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    name = f"{type(tokenizer).__name__} {getattr(tokenizer, 'name_or_path', '')!r}"
    if not isinstance(backend, tokenizers.Tokenizer):
        raise UsageError(
            f"{name} is a tokenizer without fast offsets: a fast one is needed; load it with "
            "AutoTokenizer and a tokenizer.json"
        )
    try:
        state: dict[str, Any] = json.loads(backend.to_str())
    except Exception as err:  # the library raises bare Exception for parts written in Python
        raise UsageError(
            f"{name} cannot be copied ({err}): use a tokenizer that tokenizer.json can hold"
        ) from err
    state["padding"] = state["truncation"] = None
    if "dropout" in state["model"]:
        state["model"]["dropout"] = None  # a regulariser of training; here equal texts must have equal tokens
    for decoder in _decoders(state.get("decoder")):
        if "cleanup" in decoder:
            decoder["cleanup"] = False
    if rows is not None:
        _leave_out(state, rows)
    return state


def _leave_out(state: dict[str, Any], rows: int) -> None:
    """Forget added tokens with ids beyond the rows: a text that spells one out is then ordinary text.

    Ordinary tokens stay whatever their ids: a vocabulary that is larger than the table belongs to another model.
    """
    added = state.get("added_tokens") or []
    beyond = {token["content"] for token in added if token["id"] >= rows}
    if not beyond:
        return
    state["added_tokens"] = [token for token in added if token["id"] < rows]
    vocabulary = state["model"].get("vocab")
    if isinstance(vocabulary, dict):
        state["model"]["vocab"] = {
            token: index for token, index in vocabulary.items() if index < rows or token not in beyond
        }
    elif isinstance(vocabulary, list):  # Unigram: an id is a place in the list
        while len(vocabulary) > rows and vocabulary[-1][0] in beyond:
            vocabulary.pop()


def _decoders(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The decoder of a tokenizer.json and those nested in it."""
    if decoder:
        yield decoder
        for nested in decoder.get("decoders", ()):
            yield from _decoders(nested)
