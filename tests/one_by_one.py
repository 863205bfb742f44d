"""Models that read every row by itself: what they give a row cannot depend on the rows beside it, to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.metering import charge, unmetered
from fuse_repro.models.text_encoder import TextEncoder


def row_by_row(encoder: TextEncoder) -> TextEncoder:
    """The encoder, which from now on reads every text without its padding; it costs what whole batches would."""
    pool: Callable[[Tensor, Tensor | None], Tensor] = encoder._pool

    def each(embeddings: Tensor, lengths: Tensor | None) -> Tensor:
        rows, size = embeddings.shape[:2]
        own = [size] * rows if lengths is None else lengths.tolist()
        with unmetered():
            found = [pool(row[None, :length], None) for row, length in zip(embeddings, own, strict=True)]
        charge(encoder.watch.pass_of(rows, size, embeddings.requires_grad))
        return torch.cat(found)

    encoder._pool = each  # type: ignore[method-assign]
    return encoder


@dataclass
class WholeTexts:
    """The state of texts that are read whole again for every token."""

    lm: CausalLM
    ids: Tensor

    def __post_init__(self) -> None:
        with torch.no_grad():
            logits = [self.lm(self.lm.embed(row[None]))[:, -1] for row in self.ids]
        self.log_probs = torch.cat(logits).float().log_softmax(-1)

    def advance(self, parents: Tensor, tokens: Tensor) -> "WholeTexts":
        """See `fuse_repro.search.unread.State`."""
        return WholeTexts(self.lm, torch.cat([self.ids[parents], tokens[:, None]], dim=1))


def text_by_text(lm: CausalLM) -> CausalLM:
    """The language model, whose states are from now on those of texts read one by one."""
    lm.start = lambda ids: WholeTexts(lm, ids)  # type: ignore[method-assign,assignment,return-value]
    return lm
