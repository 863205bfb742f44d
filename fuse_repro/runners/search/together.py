"""How many items are searched for side by side, where the optimizer's config leaves it open."""

from typing import Any

import torch

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import MultiObjectiveLoss
from fuse_repro.search import AutoDAN, Optimizer
from fuse_repro.search.traces import carried_terms_of

AT_MOST = 8  # more searches hardly make a GPU's batches any better
FREE_SHARE = 0.5  # of a GPU's free memory that the searches may take
NUMBERS = 20  # that a layer keeps per token and unit of its width until the backward pass
TABLES = 16  # of a prompt's [V] scores and log-probabilities that exist at the same time
AROUND = 10  # tokens of a prompt beside the new ones: the prefix, and special tokens


def together(optimizer: Optimizer, lm: CausalLM, objective: MultiObjectiveLoss) -> int:
    """How many items are searched for side by side: what the optimizer says, else what suits the device.

    One on a CPU: arithmetic takes most of the time there, and a run in shards leaves the bytes of one without. On a GPU
    as many as its free memory holds, at most 8; should that be too many after all, the batches are halved (see
    AutoBatch). One where the optimizer cannot do more.
    """
    wanted: Any = getattr(optimizer, "together", 1)
    if wanted is not None:
        return int(wanted)
    if lm.device.type != "cuda" or not isinstance(optimizer, AutoDAN):
        return 1
    free = FREE_SHARE * torch.cuda.mem_get_info(lm.device)[0]
    return max(1, min(AT_MOST, int(free / bytes_of_one(optimizer, lm, objective))))


def bytes_of_one(optimizer: AutoDAN, lm: CausalLM, objective: MultiObjectiveLoss) -> int:
    """What a step of one search keeps in memory, roughly: a pass with gradients, and scores of all tokens."""
    points = optimizer.linearisation
    rows = optimizer.beam * (points.count + points.joining if points.kind in ("random", "likely") else 1)
    tokens = rows * (optimizer.max_new_tokens + AROUND)
    carried = carried_terms_of(objective).values() if optimizer.uses_gradients else ()
    kept = sum(_per_token(term.adapter.target) for term in carried)
    return tokens * kept + TABLES * optimizer.beam * lm.tokenizer.vocab_size * torch.float32.itemsize


def _per_token(model: FrozenModel) -> int:
    """Bytes that a model's layers keep for each token until the backward pass."""
    units = model.watch.arithmetic.per_pair // 2  # two products for each layer and each unit of its width
    return NUMBERS * units * torch.float32.itemsize
