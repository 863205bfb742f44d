"""What an objective of soft prompts is given: the prompts, and what is already known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Answered:
    """What a language model says to N items with each of B soft prompts.

    Attributes:
        logits: [B, N, V] where the answers stand.
        gold: [N] number of each item's answer among the candidates.
        candidates: [A] the tokens that can answer.
    """

    logits: Tensor
    gold: Tensor
    candidates: Tensor


@dataclass(frozen=True)
class SoftPromptBatch:
    """B candidate soft prompts of m vectors each.

    Attributes:
        vectors: [B, m, d], in the embedding space of the model that shall read them.
        answered: what that model answers with them, where prompts are tuned.
        encoding: [B, m, K], the vectors' cosines to the model's K anchors, where prompts are matched (PTfer, eq. 4).
        mask: bool [m, K], the anchors that count for every vector.
        references: term name -> [m, K], a source prompt's cosines to its own model's anchors: zero outside the
            mask, every row of unit length.
    """

    vectors: Tensor
    answered: Answered | None = None
    encoding: Tensor | None = None
    mask: Tensor | None = None
    references: Mapping[str, Tensor] = field(default_factory=dict)
