"""Keys and values: what a causal model keeps of the tokens it has read, so that others can be read behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from fuse_repro.models.causal_lm import CausalLM

BATCH = 32  # texts whose keys and values are computed at once, at first


@dataclass(frozen=True, eq=False)
class KeysValues:
    """The keys and values of N texts in one model, which has to have a plain memory (`CausalLM.keeps_plain_memory`).

    Attributes:
        lm: the model.
        lengths: tokens of every text, at least one each.
        data: [layers, 2, N, heads, S, size], padded on the left.
    """

    lm: CausalLM
    lengths: tuple[int, ...]
    data: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, lm: CausalLM, texts: Sequence[Sequence[int]]) -> KeysValues:
        """Read N texts of token ids; texts of equal length share a forward pass."""
        from transformers import DynamicCache

        def read(rows: list[int]) -> Tensor:
            memory = DynamicCache()
            tokens = torch.tensor([list(texts[row]) for row in rows], device=lm.device)
            lm.model.base_model(input_ids=tokens, past_key_values=memory, use_cache=True)
            return _stacked(memory)

        lengths = tuple(len(text) for text in texts)
        return cls(lm, lengths, _gathered(lm, lengths, read))

    @torch.no_grad()
    def continued(self, numbers: Sequence[int], more: Sequence[Sequence[int]]) -> KeysValues:
        """The keys and values of further texts: those of text `numbers[i]`, and of the tokens `more[i]` behind it.

        Args:
            numbers: M texts of this object, in any order, repeated or left out.
            more: token ids of every one; they may be none.
        """

        def read(rows: list[int]) -> Tensor:
            arguments = self.behind([numbers[row] for row in rows], len(more[rows[0]]))
            tokens = torch.tensor([list(more[row]) for row in rows], dtype=torch.long, device=self.lm.device)
            if tokens.shape[1]:
                self.lm.model.base_model(input_ids=tokens, **arguments)
            return _stacked(arguments["past_key_values"])

        lengths = tuple(self.lengths[number] + len(ids) for number, ids in zip(numbers, more, strict=True))
        return KeysValues(self.lm, lengths, _gathered(self.lm, [len(ids) for ids in more], read))

    def beginnings(self, numbers: Sequence[int], lengths: Sequence[int]) -> KeysValues:
        """The keys and values of the first `lengths[i]` tokens, at least one, of text `numbers[i]`; nothing is read."""
        layers, two, _, heads, width, size = self.data.shape
        result = self.data.new_zeros(layers, two, len(numbers), heads, max(lengths), size)
        pairs: dict[tuple[int, int], list[int]] = {}
        for row, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
            pairs.setdefault((self.lengths[number], length), []).append(row)
        for (whole, length), rows in pairs.items():
            first, device = width - whole, self.data.device
            taken = self.data[..., first : first + length, :]
            own = taken.index_select(2, on_device([numbers[row] for row in rows], device))
            result[:, :, on_device(rows, device), :, max(lengths) - length :] = own
        return KeysValues(self.lm, tuple(lengths), result)

    def behind(self, numbers: Sequence[int], count: int) -> dict[str, Any]:
        """What the model is given to read `count` tokens behind each of these texts: keywords of its forward pass.

        Tokens that are padding may stand behind the others: nothing before them sees them.
        """
        from transformers import DynamicCache

        device = self.lm.device
        chosen = on_device(numbers, device)
        own = [self.lengths[number] for number in numbers]
        lengths, width = on_device(own, device), max(own)
        memory = self.data[..., self.data.shape[4] - width :, :].index_select(2, chosen)
        mask = torch.arange(width + count, device=device) >= (width - lengths)[:, None]
        places = lengths[:, None] + torch.arange(count, device=device)
        if self.lm.max_tokens is not None:  # only padding is ever beyond it
            places = places.clamp_max(self.lm.max_tokens - 1)
        return {
            "past_key_values": DynamicCache([(keys, values) for keys, values in memory]),
            "attention_mask": mask.long(),
            "position_ids": self.lm.first_position + places,
            "use_cache": True,
        }


def cache_bytes(lm: CausalLM, texts: Sequence[Sequence[int]]) -> int:
    """What the keys and values of these texts take, all padded to the longest."""
    config = lm.model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tokens = len(texts) * max(map(len, texts))
    return int(2 * config.num_hidden_layers * heads * size * tokens * lm.dtype.itemsize)


def on_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Numbers as a tensor [B] on the device, without a wait for what the device is doing."""
    made = torch.tensor(list(numbers), dtype=torch.long)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)


def _stacked(memory: Any) -> Tensor:
    """[layers, 2, N, heads, S, size] of a memory as transformers has it."""
    return torch.stack([torch.stack((layer.keys, layer.values)) for layer in memory.layers])


def _gathered(lm: CausalLM, lengths: Sequence[int], read: Callable[[list[int]], Tensor]) -> Tensor:
    """What `read` gives for rows of equal length, all rows in order and padded on the left to the longest."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    found: list[tuple[list[int], Tensor]] = []
    for _, group in groupby(order, key=lengths.__getitem__):
        rows = list(group)

        def together(part: slice, rows: list[int] = rows) -> Tensor:
            return read(rows[part])

        parts = lm.batches("text", BATCH).each(len(rows), together)
        found += [(rows[part], data) for part, data in parts]
    longest = max(data.shape[4] for _, data in found)
    layers, two, _, heads, _, size = found[0][1].shape
    result = found[0][1].new_zeros(layers, two, len(lengths), heads, longest, size)
    for rows, data in found:
        result[:, :, torch.tensor(rows, device=result.device), :, longest - data.shape[4] :] = data
    return result
