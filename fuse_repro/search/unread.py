"""What stands for a language model's state where nobody asks what the model would say next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fuse_repro.models.causal_lm import CausalLM


class State(Protocol):
    """B prompts of a language model, and how they go on; a `NextToken`, or `Unread`.

    Attributes:
        log_probs: [B, V], of every prompt's next token, in nats, float32.
    """

    @property
    def log_probs(self) -> Tensor: ...

    def advance(self, parents: Tensor, tokens: Tensor) -> State:
        """The state of prompts `parents[i]`, each followed by `tokens[i]`: [B2] both."""
        ...


@dataclass(frozen=True)
class Unread:
    """A state that no forward pass was made for.

    Attributes:
        log_probs: [B, V] zeros, so that likelihoods are 0 throughout.
    """

    log_probs: Tensor

    @classmethod
    def of(cls, lm: CausalLM, rows: int) -> Unread:
        """The state of so many prompts."""
        shape = (rows, lm.tokenizer.vocab_size)
        return cls(torch.zeros(1, device=lm.device, dtype=torch.float32).expand(shape))

    def advance(self, parents: Tensor, tokens: Tensor) -> Unread:
        """See `State`; the log-probabilities stay 0 whatever comes next."""
        return Unread(self.log_probs[:1].expand(len(parents), -1))
