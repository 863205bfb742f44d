"""Logits where the answer stands, for masked and causal models alike."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.tasks.layout import Batch, Row, by_length, collate


def answer_logits(lm: FrozenModel, embeddings: Tensor, mask: Tensor | None, answers: Tensor) -> Tensor:
    """Logits [B, V] at one position of each row, or [B, k, V] at k; differentiable by the embeddings.

    The model's head, which is as large as its vocabulary, is applied at these positions only: they are picked
    from what the transformer below the head returns.

    Args:
        lm: a masked or causal language model.
        embeddings: [B, S, d] of whole rows.
        mask: [B, S], True at tokens; None if nothing is padded. A causal model needs none for padding on the
            right, since it never looks there.
        answers: [B] or [B, k] the positions.
    """
    several = answers if answers.ndim == 2 else answers[:, None]

    def pick(module: Any, arguments: Any, output: Any) -> Any:
        hidden = output[0]
        rows = torch.arange(len(hidden), device=hidden.device)
        output.last_hidden_state = hidden[rows[:, None], several]
        return output

    body, seen = lm.body, mask if isinstance(lm, MaskedLM) else None
    if body is lm.model:  # its class does not tell where the head begins
        whole: Tensor = lm(embeddings, seen)
        return whole[torch.arange(len(whole), device=whole.device), answers]
    handle = body.register_forward_hook(pick)
    try:
        logits: Tensor = lm(embeddings, seen)
    finally:
        handle.remove()
    return logits if answers.ndim == 2 else logits[:, 0]


def fill(batch: Batch, embeddings: Tensor, prompt: Tensor | None) -> Tensor:
    """The batch's embeddings [B, S, d] with the prompt [m, d], or each row's own of [B, m, d], put in its slots."""
    if prompt is None:
        return embeddings
    own, places = prompt.to(embeddings.dtype), batch.slots.clamp_min(0)
    placed = own[places] if own.ndim == 2 else own.take_along_dim(places[..., None], dim=1)
    return torch.where((batch.slots >= 0)[..., None], placed, embeddings)


def answer_log_probs(
    lm: FrozenModel,
    rows: Sequence[Row],
    prompt: Tensor | None,
    candidates: Tensor,
    batch_size: int = 64,
) -> Tensor:
    """Log-probabilities [B, A], float32, in nats, of the candidates [A] among themselves; without gradients.

    Rows of similar length share a batch; the result is in the order of `rows`, and depends on the batch size
    by rounding only. A batch that does not fit in memory is halved.
    """
    order = by_length([len(row.ids) for row in rows])
    result = torch.empty(len(rows), len(candidates), device=lm.device)

    def answers(part: slice) -> Tensor:
        batch = collate([rows[number] for number in order[part]], lm.device)
        embeddings = fill(batch, lm.embed(batch.ids), prompt)
        logits = answer_logits(lm, embeddings, batch.mask, batch.answers)
        return logits[:, candidates].float().log_softmax(dim=-1)

    with torch.inference_mode():
        for part, found in lm.batches("item", batch_size).each(len(rows), answers):
            result[torch.tensor(order[part], device=lm.device)] = found
    return result
