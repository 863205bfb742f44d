"""What stands for a language model's state where nobody asks for it, and where a prompt has no token yet."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Opening:
    """The state before the first token of a text that nothing stands in front of.

    What follows has not read the token that says that a text begins: a first token is never scored, and is context.

    Attributes:
        lm: the language model.
        log_probs: [B, V], of the first token behind that token; zeros where the tokenizer has none.
    """

    lm: CausalLM
    log_probs: Tensor

    @classmethod
    def of(cls, lm: CausalLM, rows: int = 1) -> Opening:
        """The state of so many empty prompts."""
        begin = lm.tokenizer.begin_id
        if begin is None:
            return cls(lm, Unread.of(lm, rows).log_probs)
        log_probs = lm.start(torch.tensor([[begin]], device=lm.device)).log_probs
        return cls(lm, log_probs.expand(rows, -1))

    @staticmethod
    def fits(lm: CausalLM, ids: Sequence[int]) -> bool:
        """Whether a prompt of these tokens has nothing that a model could read."""
        return not ids and not lm.tokenizer.prefix_ids

    def advance(self, parents: Tensor, tokens: Tensor) -> State:
        """See `State`."""
        return self.lm.start(tokens[:, None])
