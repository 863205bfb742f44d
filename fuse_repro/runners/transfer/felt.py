"""How much a model feels a soft prompt where it stands: what it changes about the next word of plain texts."""

import torch
from torch import Tensor

from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts import SoftPrompt
from fuse_repro.tasks.layout import Layout, collate
from fuse_repro.tasks.predict import answer_logits, fill

TEXTS = (
    "The train stopped at a small station near the",
    "She opened the letter and began to",
    "Most people in this town work in the",
    "After the long winter the river was",
    "The capital of France is",
    "He asked the waiter for a cup of",
    "The film that we saw last night was",
    "Nobody knows who wrote the first",
)


@torch.no_grad()
def felt(lm: FrozenModel, prompt: SoftPrompt) -> float:
    """Mean Kullback-Leibler divergence, in nats, from the next word without the prompt to that with it, over TEXTS."""
    with_it = _log_probs(lm, Layout.of(lm, prompt), prompt.embeddings)
    without = _log_probs(lm, Layout(lm), None)
    return float((without.exp() * (without - with_it)).sum(dim=-1).mean())


def _log_probs(lm: FrozenModel, layout: Layout, prompt: Tensor | None) -> Tensor:
    """[texts, V] float32."""
    batch = collate(layout.rows(TEXTS), lm.device)
    embeddings = fill(batch, lm.embed(batch.ids), prompt)
    return answer_logits(lm, embeddings, batch.mask, batch.answers).float().log_softmax(dim=-1)
