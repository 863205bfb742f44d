"""Causal language models: logits from embeddings, and cached next-token log-probabilities."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel


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
        return cls(model, tokenizer, name=name, weights=entry)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [B, S, V] of the token after each position.

        Args:
            embeddings: [B, S, d], differentiable.
            mask: [B, S], 1 at real tokens and 0 at padding, on either side; None if there is no padding.
                Logits at padding mean nothing.
        """
        arguments: dict[str, Tensor] = {}
        if mask is not None:
            positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
            arguments = {"attention_mask": mask.long(), "position_ids": positions}
        output = self.model(inputs_embeds=embeddings.to(self.dtype), use_cache=False, **arguments)
        return output.logits[..., : self.tokenizer.vocab_size]

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

        return self._step(ids, DynamicCache(config=self.model.config))

    @torch.no_grad()
    def _step(self, ids: Tensor, cache: Any) -> "NextToken":
        """Run the tokens [B, S] that come after what `cache` holds; the cache is changed."""
        output = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = output.logits[:, -1, : self.tokenizer.vocab_size]
        return NextToken(logits.float().log_softmax(dim=-1), self, cache)


@dataclass
class NextToken:
    """What B equally long prefixes say about their next token.

    Attributes:
        log_probs: [B, V], float32 log-probabilities in nats.
    """

    log_probs: Tensor
    _lm: CausalLM
    _cache: Any

    def advance(self, parents: Tensor, tokens: Tensor) -> "NextToken":
        """The state of new rows: prefix `parents[i]` followed by `tokens[i]`.

        This state is left as it is, so that it can be advanced again.

        Args:
            parents: [B2] row numbers of this state, in any order, repeated or left out.
            tokens: [B2] token ids.
        """
        # Layers replace their tensors rather than write into them, and reordering copies rows.
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        cache.reorder_cache(parents)
        return self._lm._step(tokens[:, None], cache)


def _in_one_piece(head: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The hidden states as one block: of a slice (`logits_to_keep`) torch multiplies every row by itself.

    With Gemma's 262,144 tokens that takes ten times as long as one product.
    """
    return (arguments[0].contiguous(), *arguments[1:])
