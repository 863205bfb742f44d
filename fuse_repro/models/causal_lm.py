"""Causal language models: logits from embeddings, and cached next-token log-probabilities."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.metering import unmetered
from fuse_repro.models.positions import first_position, takes
from fuse_repro.models.trial import tried

MEMORIES = ("past_key_values", "cache_params")  # keys and values; states, as Mamba has them


class CausalLM(FrozenModel):
    """A causal language model that is only read; its arguments are those of `FrozenModel`.

    >>> lm = CausalLM(AutoModelForCausalLM.from_pretrained("gpt2"), AutoTokenizer.from_pretrained("gpt2"))

    Shapes: B texts, S tokens, d embedding size, V tokens of the tokenizer.
    """

    def __init__(self, model: Any, *arguments: Any, **keywords: Any) -> None:
        super().__init__(model, *arguments, **keywords)
        if self._head is None:
            raise UsageError(
                f"{self.name}: {type(model).__name__} says nothing of the next token: load the model with "
                "AutoModelForCausalLM"
            )
        self._head.register_forward_pre_hook(_in_one_piece)

    @classmethod
    def load(
        cls,
        name: str,
        source: str,
        *,
        dtype: str = "float32",
        terms: str | None = None,
        accept_terms: bool = True,
        **source_kwargs: Any,
    ) -> "CausalLM":
        """Load from a wheel, the hub or a folder.

        Args:
            name: the model's name.
            source: `wheel`, `hub` or `path`.
            dtype: `float32`, `bfloat16` or `float16`.
            terms: address of a licence that has to be accepted.
            accept_terms: whether the user has.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: terms not accepted, unknown dtype, or anything wrong with the source or the files.
        """
        if not accept_terms:
            raise UsageError(
                f"{name} comes with terms of its own: read {terms}, then set accept_terms=true in its config"
            )
        from transformers import AutoModelForCausalLM

        from fuse_repro.models.loading import load_parts

        model, tokenizer, entry = load_parts(AutoModelForCausalLM, name, source, dtype, source_kwargs)
        return tried(cls(model, tokenizer, name=name, weights=entry), causal=True)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [B, S, V] of the token after each position.

        Args:
            embeddings: [B, S, d], differentiable.
            mask: [B, S], 1 at real tokens and 0 at padding, on either side; None if there is no padding.
                Logits at padding mean nothing.
        """
        output = self.model(inputs_embeds=embeddings.to(self.dtype), use_cache=False, **self.places(mask))
        return output.logits[..., : self.tokenizer.vocab_size]

    def places(self, mask: Tensor | None) -> dict[str, Tensor]:
        """What tells the model where tokens stand, as arguments of its forward pass.

        Args:
            mask: [B, S], 1 at real tokens and 0 at padding; None if there is no padding.
        """
        if mask is None:
            return {}
        places = {"attention_mask": mask.long()}
        if self.takes_positions:
            places["position_ids"] = (mask.long().cumsum(dim=1) - 1).clamp_min(0) + self.first_position
        return places

    @cached_property
    def first_position(self) -> int:
        """The position of a text's first token: 0, but for decoders of RoBERTa's kind."""
        return first_position(self.model)

    @cached_property
    def takes_positions(self) -> bool:
        """Whether the model can be told every token's position; BLOOM and its like go by distances alone."""
        return takes(self.model, "position_ids")

    @cached_property
    def keeps_plain_memory(self) -> bool:
        """Whether all layers keep one block of keys and values, all of one shape, that other code may cut and join.

        Models with states instead (Mamba), with compressed keys (DeepSeek) or without a memory do not.
        """
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        if self._memory_argument != "past_key_values" or not self.takes_positions:
            return False
        memory = DynamicCache()
        ids = torch.zeros((1, 2), dtype=torch.long, device=self.device)
        with unmetered(), torch.no_grad():
            try:
                self.model(input_ids=ids, past_key_values=memory, use_cache=True)
            except Exception:  # it wants a memory of its own kind
                return False
        if any(type(layer) is not DynamicLayer or layer.keys is None for layer in memory.layers):
            return False
        shapes = {tuple(side.shape) for layer in memory.layers for side in (layer.keys, layer.values)}
        return len(shapes) == 1 and len(memory.layers) == getattr(
            self.model.config, "num_hidden_layers", None
        )

    @cached_property
    def _memory_argument(self) -> str | None:
        """What the forward pass calls its memory of earlier tokens; None for a model that has none."""
        return next((name for name in MEMORIES if takes(self.model, name)), None)

    def start(self, ids: Tensor) -> "NextToken":
        """The state after B equally long prefixes of token ids [B, S].

        Ids include the tokenizer's `prefix_ids` where the caller wants them.

        Raises:
            UsageError: S is 0.
        """
        require(
            ids.shape[1] > 0, "prefix", ids.tolist(), "at least one token; add the tokenizer's prefix_ids"
        )
        from transformers import DynamicCache

        if self._memory_argument is None:
            return self._step(ids, ids, None)
        return self._step(ids, ids, DynamicCache(config=self.model.config))

    @torch.no_grad()
    def _step(self, whole: Tensor, ids: Tensor, memory: Any) -> "NextToken":
        """Run the last tokens `ids` [B, S] of rows `whole`, which come after what `memory` holds; it is changed."""
        arguments: dict[str, Any] = {"use_cache": memory is not None}
        if self._memory_argument is not None:
            arguments[self._memory_argument] = memory
        if takes(self.model, "logits_to_keep"):
            arguments["logits_to_keep"] = 1
        output = self.model(input_ids=ids, **arguments)
        logits = output.logits[:, -1, : self.tokenizer.vocab_size]
        return NextToken(logits.float().log_softmax(dim=-1), self, whole, memory)


@dataclass
class NextToken:
    """What B equally long prefixes say about their next token.

    Attributes:
        log_probs: [B, V], float32 log-probabilities in nats.
    """

    log_probs: Tensor
    _lm: CausalLM
    _ids: Tensor
    _memory: Any

    def advance(self, parents: Tensor, tokens: Tensor) -> "NextToken":
        """The state of new rows: prefix `parents[i]` followed by `tokens[i]`.

        This state is left as it is, so that it can be advanced again.

        Args:
            parents: [B2] row numbers of this state, in any order, repeated or left out.
            tokens: [B2] token ids.
        """
        whole = torch.cat([self._ids[parents], tokens[:, None]], dim=1)
        if self._memory is None:
            return self._lm._step(whole, whole, None)
        return self._lm._step(whole, tokens[:, None], _rows(self._memory, parents))


def _rows(memory: Any, parents: Tensor) -> Any:
    """These rows of a memory, for rows that go on; the memory is left as it is."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    # Layers of keys and values replace their tensors rather than write into them, and reordering copies rows.
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    taken = copy.copy(memory)
    taken.layers = [
        copy.copy(layer) if type(layer) in plain else copy.deepcopy(layer) for layer in memory.layers
    ]
    taken.reorder_cache(parents)
    return taken


def _in_one_piece(head: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The hidden states as one block: of a slice (`logits_to_keep`) torch multiplies every row by itself.

    With Gemma's 262,144 tokens that takes ten times as long as one product.
    """
    return (arguments[0].contiguous(), *arguments[1:])
