"""Where a transformers model counts its positions from, and how many tokens it has positions for."""

from inspect import signature
from typing import Any

from torch import nn

LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len")


def first_position(model: nn.Module) -> int:
    """RoBERTa's first position, and that of its kind, is the one after its padding index; the others' is 0."""
    first = 0
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            first = int(padding) + 1
    return first


def max_tokens(model: nn.Module, config: Any = None) -> int | None:
    """The most tokens, special ones included, that a model has positions for; None where it does not say.

    Args:
        model: the transformer.
        config: of the part that reads text; None for the model's own.
    """
    config = getattr(model, "config", None) if config is None else config
    limits = [getattr(config, name, None) for name in LIMITS]
    limit = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
    return None if limit is None else limit - first_position(model)


def takes(model: nn.Module, argument: str) -> bool:
    """Whether a model's forward pass names an argument; what it takes besides may go anywhere, or nowhere."""
    return argument in signature(model.forward).parameters
