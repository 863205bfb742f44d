"""Items read again and again with a changing prompt, as tuning does; what does not change is computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.tasks.layout import Layout, Row, collate
from fuse_repro.tasks.predict import answer_logits, fill

MAX_CACHE_BYTES = 2**30
BATCH = 32


class Reader(Protocol):
    """Items of one task, ready for any soft prompt of one length."""

    def logits(self, numbers: Sequence[int], prompt: Tensor) -> Tensor:
        """Logits [B, V] of the answers to items `numbers`; differentiable by the prompt [m, d]."""
        ...


def make_reader(layout: Layout, rows: Sequence[Row], max_cache_bytes: int = MAX_CACHE_BYTES) -> Reader:
    """The fastest way of reading these rows of `layout`.

    If the model is causal and its prompt stands behind the text, the text is read once. Its keys and values
    are kept if they take at most `max_cache_bytes`.
    """
    if isinstance(layout.lm, CausalLM) and layout.position == "postfix":
        fixed = [row.ids[: -layout.length] for row in rows]
        if min(map(len, fixed)) >= 1 and _cache_bytes(layout.lm, sum(map(len, fixed))) <= max_cache_bytes:
            return CachedReader(layout.lm, fixed)
    return PlainReader(layout.lm, rows)


@torch.no_grad()
def reader_log_probs(
    reader: Reader, items: int, prompt: Tensor, candidates: Tensor, batch_size: int
) -> Tensor:
    """Log-probabilities [items, A] on the CPU, in nats, of the candidates [A] among themselves, by a reader.

    The same numbers as `answer_log_probs` gives.
    """
    numbers = range(items)
    batches = [numbers[begin : begin + batch_size] for begin in range(0, items, batch_size)]
    logits = [reader.logits(batch, prompt)[:, candidates].float() for batch in batches]
    return torch.cat(logits).log_softmax(dim=-1).cpu()


@dataclass(frozen=True)
class PlainReader:
    """Runs the whole row each time."""

    lm: FrozenModel
    rows: Sequence[Row]

    def logits(self, numbers: Sequence[int], prompt: Tensor) -> Tensor:
        """Logits [B, V]; see Reader."""
        batch = collate([self.rows[number] for number in numbers], self.lm.device)
        embeddings = fill(batch, self.lm.embed(batch.ids), prompt)
        return answer_logits(self.lm, embeddings, batch.mask, batch.answers)


class CachedReader:
    """Runs the prompt only, over the keys and values of the text in front of it.

    Args:
        lm: a causal model.
        texts: the tokens of each item in front of the prompt, at least one each.
    """

    def __init__(self, lm: CausalLM, texts: Sequence[Sequence[int]]) -> None:
        self.lm = lm
        self._memory = _keys_and_values(lm, texts)

    def logits(self, numbers: Sequence[int], prompt: Tensor) -> Tensor:
        """Logits [B, V]; see Reader. Texts are padded on the left."""
        from transformers import DynamicCache

        chosen = [self._memory[number] for number in numbers]
        lengths = torch.tensor([layers.shape[3] for layers in chosen], device=self.lm.device)
        width = int(lengths.max())
        layers, two, heads, _, size = chosen[0].shape
        memory = chosen[0].new_zeros(layers, two, len(chosen), heads, width, size)
        for row, kept in enumerate(chosen):
            memory[:, :, row, :, width - kept.shape[3] :] = kept
        cache = DynamicCache([(keys, values) for keys, values in memory])
        places = torch.arange(width + len(prompt), device=self.lm.device)
        mask = places >= (width - lengths)[:, None]
        output = self.lm.model(
            inputs_embeds=prompt.to(self.lm.dtype).expand(len(chosen), -1, -1),
            past_key_values=cache,
            attention_mask=mask.long(),
            position_ids=lengths[:, None] + torch.arange(len(prompt), device=self.lm.device),
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1, : self.lm.tokenizer.vocab_size]


def _keys_and_values(lm: CausalLM, texts: Sequence[Sequence[int]]) -> list[Tensor]:
    """[layers, 2, heads, S, size] of each text; texts of equal length share a forward pass."""
    from transformers import DynamicCache

    result: dict[int, Tensor] = {}
    with torch.no_grad():
        for numbers in _equal_lengths(texts):
            tokens = torch.tensor([list(texts[number]) for number in numbers], device=lm.device)
            output: Any = lm.model.base_model(
                input_ids=tokens, past_key_values=DynamicCache(), use_cache=True
            )
            layers = output.past_key_values.layers
            stacked = torch.stack([torch.stack((layer.keys, layer.values)) for layer in layers])
            result |= {number: stacked[:, :, row].clone() for row, number in enumerate(numbers)}
    return [result[number] for number in range(len(texts))]


def _equal_lengths(texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Numbers of texts in batches, each of equally many tokens."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for _, group in groupby(order, key=lambda number: len(texts[number])):
        numbers = list(group)
        for begin in range(0, len(numbers), BATCH):
            yield numbers[begin : begin + BATCH]


def _cache_bytes(lm: CausalLM, tokens: int) -> int:
    """What the keys and values of so many tokens take."""
    config = lm.model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * tokens * lm.dtype.itemsize)
