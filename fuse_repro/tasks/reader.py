"""Items read again and again with a changing prompt, as tuning does; what does not change is computed once."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.keys_values import KeysValues, cache_bytes, on_device
from fuse_repro.tasks.layout import Layout, Row, by_length, collate
from fuse_repro.tasks.predict import answer_logits, fill

MAX_CACHE_BYTES = 2**30


class Reader(Protocol):
    """Items ready for any soft prompts of one length m.

    Attributes:
        lm: the model that reads.
        lengths: how many tokens of every item are there without the prompt, or with it: what batches are sorted by.
    """

    @property
    def lm(self) -> FrozenModel: ...

    @property
    def lengths(self) -> Sequence[int]: ...

    def logits(self, numbers: Sequence[int], prompt: Any) -> Tensor:
        """Logits [B, V] of the answers to items `numbers`; differentiable by the prompt.

        Args:
            numbers: B items.
            prompt: [m, d], which all of them read, or [B, m, d], one for each; None where a reader can do without.
        """
        ...


def make_reader(layout: Layout, rows: Sequence[Row], max_cache_bytes: int = MAX_CACHE_BYTES) -> Reader:
    """The fastest way of reading these rows of `layout`.

    If the model is causal and its prompt stands behind the text, the text is read once. Its keys and values
    are kept if they take at most `max_cache_bytes`.
    """
    texts = fixed_texts(layout, rows)
    if isinstance(layout.lm, CausalLM) and texts and 0 < cache_bytes(layout.lm, texts) <= max_cache_bytes:
        return CachedReader(layout.lm, texts)
    return PlainReader(layout.lm, rows)


def fixed_texts(layout: Layout, rows: Sequence[Row]) -> list[tuple[int, ...]]:
    """The tokens in front of the prompt, which can be read once for all prompts; none where this is not possible."""
    lm = layout.lm
    if not isinstance(lm, CausalLM) or not layout.text_first or not lm.keeps_plain_memory:
        return []
    texts = [row.ids[: -layout.length] for row in rows]
    return texts if min(map(len, texts), default=0) >= 1 else []


@torch.no_grad()
def reader_log_probs(
    reader: Reader, items: int, prompt: Tensor | None, candidates: Tensor, batch_size: int
) -> Tensor:
    """Log-probabilities [items, A] on the CPU, in nats, of the candidates [A] among themselves, by a reader.

    The same numbers as `answer_log_probs` gives. Items of similar length share a batch.
    """
    order = by_length(reader.lengths[:items])
    result = torch.empty(items, len(candidates), device=candidates.device)

    def answers(part: slice) -> Tensor:
        logits = reader.logits(order[part], prompt)[:, candidates]
        return logits.float().log_softmax(dim=-1)

    for part, found in reader.lm.batches("item", batch_size).each(items, answers):
        result[on_device(order[part], candidates.device)] = found
    return result.cpu()


class PlainReader:
    """Runs the whole row each time.

    Args:
        lm: a masked or causal language model.
        rows: the items.
    """

    def __init__(self, lm: FrozenModel, rows: Sequence[Row]) -> None:
        self.lm = lm
        self.lengths = [len(row.ids) for row in rows]
        self._rows = collate(rows, lm.device)

    def logits(self, numbers: Sequence[int], prompt: Tensor) -> Tensor:
        """Logits [B, V]; see Reader."""
        lengths = [self.lengths[number] for number in numbers]
        batch = self._rows.only(on_device(numbers, self.lm.device), max(lengths), min(lengths) < max(lengths))
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
        self.lengths = [len(text) for text in texts]
        self._memory = KeysValues.of(lm, texts)

    def logits(self, numbers: Sequence[int], prompt: Tensor) -> Tensor:
        """Logits [B, V]; see Reader."""
        output = self.lm.model(
            inputs_embeds=prompt.to(self.lm.dtype).expand(len(numbers), -1, -1),
            logits_to_keep=1,
            **self._memory.behind(numbers, prompt.shape[-2]),
        )
        return output.logits[:, -1, : self.lm.tokenizer.vocab_size]
