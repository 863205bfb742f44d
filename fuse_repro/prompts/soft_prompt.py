"""A soft prompt: m vectors in a model's input-embedding space.

A prompt stands before everything the model reads, special tokens included, as PEFT puts it (`prefix`), behind the
model's own first tokens and before the text (`after_bos`), between the text and the answer (`postfix`; eq. 1 of
Zero-Shot Continuous Prompt Transfer), or with some vectors before the text and the others behind it (`around:N`). For a
model without first tokens the first two are one place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.prompts.around import AROUND, before_text

AFTER_BOS = "after_bos"
POSITIONS = ("prefix", "postfix", AFTER_BOS)


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """A soft prompt and where it belongs.

    Attributes:
        embeddings: [m, d], finite; what the model's first layer receives (Gemma's scale included).
        position: `prefix`, `after_bos`, `postfix`, or `around:N` with the first N vectors before the text.
        model: name of the model it was made for; "" if unknown.
        fingerprint: that model's fingerprint; "" if unknown.

    Raises:
        UsageError: wrong shape, a value that is not finite, an unknown position, or more vectors before the text than
            there are.
    """

    embeddings: Tensor
    position: str = "prefix"
    model: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        shape = tuple(self.embeddings.shape)
        require(
            len(shape) == 2 and min(shape) >= 1, "soft prompt's shape", shape, "[m, d] with m of at least 1"
        )
        before = before_text(self.position)
        known = self.position in POSITIONS if before is None else before <= self.length
        places = f"one of {', '.join(POSITIONS)}, or {AROUND}N with N of at most {self.length}, its vectors"
        require(known, "position", self.position, places)
        if not torch.isfinite(self.embeddings).all():
            raise UsageError(
                f"the soft prompt of {self.model or 'an unnamed model'} holds values that are not finite numbers: "
                "tune it again, with a lower learning rate if it diverged"
            )

    @property
    def length(self) -> int:
        """m, the number of vectors."""
        return self.embeddings.shape[0]

    def check_model(self, lm: FrozenModel) -> None:
        """Refuse the prompt for a model that cannot read it.

        Raises:
            UsageError: the prompt has another size than `lm`, or was made for another model.
        """
        size = self.embeddings.shape[1]
        if size != lm.embedding_size:
            raise UsageError(
                f"a soft prompt of size {size}{self._owner()} does not fit {lm.name}, whose embeddings have size "
                f"{lm.embedding_size}: transfer it first"
            )
        if self.fingerprint and self.fingerprint != lm.fingerprint:
            raise UsageError(
                f"this soft prompt{self._owner()} was made for other weights or another tokenizer than {lm.name}'s: "
                "transfer it first"
            )

    def _owner(self) -> str:
        return f" (of {self.model})" if self.model else ""


def for_model(lm: FrozenModel, embeddings: Tensor, position: str = "postfix") -> SoftPrompt:
    """The embeddings [m, d] as a prompt of `lm`."""
    return SoftPrompt(embeddings.detach(), position, lm.name, lm.fingerprint)
