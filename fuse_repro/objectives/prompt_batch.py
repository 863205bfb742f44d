"""What a search hands to the objective: candidate prompts and what is already known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.words import Tokenized, WordTokenizer

NEUTRAL_WORD = "thing"


@dataclass(frozen=True)
class OpenSlot:
    """The next token of a prompt, not chosen yet: where an objective is linearised.

    tokens: the primary model's tokens of every prompt with one more token, a word of its own, for the slot.
    dummy: what secondary models read in the slot: "mask" (their own mask token), "auto" (that where
        they have one, else a neutral word), or any other word as it is.
    """

    tokens: Sequence[Tokenized]
    dummy: str = "auto"

    def word(self, tokenizer: WordTokenizer) -> str:
        """The word that a model with this tokenizer reads in the slot."""
        if self.dummy == "auto":
            return tokenizer.mask_token or NEUTRAL_WORD
        if self.dummy == "mask":
            if tokenizer.mask_token is None:
                raise UsageError(
                    "optimizer.dummy='mask', but a secondary model has no mask token: give a word, or 'auto'"
                )
            return tokenizer.mask_token
        return self.dummy


@dataclass(frozen=True)
class PromptBatch:
    """B candidate prompts.

    texts: the B prompts.
    targets: term name -> what its model should match, [e].
    nll: [B], summed negative log-likelihood of each prompt's tokens under the primary model, in nats.
    scored: [B], the number of tokens in that sum.
    embeddings: [B, S, d], the primary model's embeddings, where a gradient by them is wanted.
    slot: the prompts' next token, where that is still open; it is the last of `embeddings`.
    """

    texts: Sequence[str]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    nll: Tensor | None = None
    scored: Tensor | None = None
    embeddings: Tensor | None = None
    slot: OpenSlot | None = None
