"""How natural a prompt is to a language model other than the primary one (a term of FUSE's eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.token_pieces import LEAD, token_pieces
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives.fluency import prompt_nll
from fuse_repro.objectives.prompt_batch import PromptBatch
from fuse_repro.objectives.shared_prefix import shared_prefix_nll

ROWS_WITH_GRADIENT = 8
LATER_PIECE_NATS = 4.0  # what each later piece of a word costs a language model, roughly


@dataclass(frozen=True)
class PieceTable:
    """How a model writes every token of another model.

    Attributes:
        first: [n], the first of the model's pieces of every token.
        counts: [n], how many pieces the token has, at least 1.
    """

    first: Tensor
    counts: Tensor


class SecondaryFluencyTerm(nn.Module):
    """Mean negative log-likelihood of a prompt's tokens under a secondary model, in nats per token.

    If the batch has the primary model's embeddings, the loss has a gradient through the adapter. A token
    counts twice there: as what is read, and as what is predicted. The latter is linear in the token's
    embedding where input and output embeddings are tied, log p(token) = <state, embedding> - log Z. Where
    they are not tied, only the gradient by what is read is carried.

    Args:
        name: of the term, for messages.
        encoder: the secondary model, a causal language model.
        adapter: from the primary model to it; needed where gradients are taken.

    Raises:
        UsageError: a model that is no causal language model.
    """

    estimates_inside = False  # what comes after a token has been scored without it
    spreads_in_context = True  # the estimate is nearly exact

    def __init__(self, name: str, encoder: FrozenModel, adapter: EmbeddingMap | None = None) -> None:
        super().__init__()
        causal = isinstance(encoder, CausalLM)
        require(
            causal, f"objective.{name}.model", encoder.name, "a causal language model, such as gemma3_270m"
        )
        self.name = name
        self.adapter = adapter
        self._lm = (encoder,)

    @property
    def lm(self) -> CausalLM:
        lm: CausalLM = self._lm[0]  # type: ignore[assignment]
        return lm

    def forward(self, batch: PromptBatch) -> Tensor:
        """[B] nats per token."""
        if batch.embeddings is None:
            nll, scored = shared_prefix_nll(self.lm, self.lm.tokenizer.encode(batch.texts))
            return nll / scored.clamp(min=1)
        embeddings, alignment = batch.carried(self.adapter, self.name)

        def likelihood(part: slice) -> Tensor:
            rows = (embeddings[part], alignment.target_ids[part], alignment.target_mask[part])
            # Recomputed when gradients are taken: the logits of all rows at once may not fit in memory.
            return checkpoint(self._likelihood, *rows, use_reentrant=False)

        found = self.lm.batches("prompt", ROWS_WITH_GRADIENT).each(len(embeddings), likelihood)
        return torch.cat([values for _, values in found])

    def word_table(
        self, source: FrozenModel, cache_dir: Path | None = None, ids: Sequence[int] | None = None
    ) -> PieceTable:
        """What `word_estimates` needs to know of all the source's tokens or of `ids`; not kept on disk."""
        tokens = range(source.tokenizer.vocab_size) if ids is None else ids
        pieces = token_pieces(source.tokenizer, self.lm.tokenizer, tokens)
        first, counts = zip(*((piece[0], len(piece)) if piece else (0, 1) for piece in pieces), strict=True)
        return PieceTable(*(torch.tensor(column, device=self.lm.device) for column in (first, counts)))

    @torch.no_grad()
    def word_estimates(self, batch: PromptBatch, table: PieceTable, context: bool) -> Tensor:
        """[B, n]: the term for every prompt followed by every token of the table, by one pass per prompt.

        The first piece of a token has its own probability; later pieces add a constant. Without context,
        every token follows a neutral word instead of the prompt.
        """
        tokenizer = self.lm.tokenizer
        encoded = tokenizer.encode(list(batch.texts) if context else [LEAD] * len(batch.texts))
        nll, scored = prompt_nll(self.lm, encoded)
        rows = []
        for row, ids in enumerate(encoded):
            state = self.lm.start(torch.tensor([[*tokenizer.prefix_ids, *ids]], device=self.lm.device))
            total = nll[row] - state.log_probs[0, table.first] + LATER_PIECE_NATS * (table.counts - 1)
            rows.append(total / (scored[row] + table.counts))
        return torch.stack(rows)

    def _likelihood(self, embeddings: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Nats per token, [B], differentiable by the embeddings [B, S, d] of the tokens `ids` [B, S]."""
        lm, around = self.lm, self.lm.tokenizer.prefix_ids
        start = lm.embed(torch.tensor(around, dtype=torch.long, device=lm.device)).expand(len(ids), -1, -1)
        whole = torch.cat([start, embeddings.to(start)], dim=1)
        seen = torch.cat([mask.new_ones(len(ids), len(around)), mask], dim=1)
        output = lm.model(inputs_embeds=whole, use_cache=False, output_hidden_states=True, **lm.places(seen))
        begin = max(0, len(around) - 1)  # the state that predicts the first token scored
        kept = output.logits[..., : lm.tokenizer.vocab_size]
        logits, states = (x[:, begin:-1].float() for x in (kept, output.hidden_states[-1]))
        labels = ids[:, max(0, 1 - len(around)) :]
        scored = mask[:, max(0, 1 - len(around)) :].float()
        picked = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        if (scale := tied_scale(lm)) is not None:
            read = embeddings[:, max(0, 1 - len(around)) :].float()
            picked = picked + ((read - read.detach()) * states).sum(-1) / scale
        nll = (logits.logsumexp(-1) - picked) * scored
        return nll.sum(1) / scored.sum(1).clamp(min=1)


def tied_scale(lm: CausalLM) -> float | None:
    """A language model's input embeddings over its output embeddings; None where they are not tied."""
    output = lm.model.get_output_embeddings()
    if output is None or output.weight.data_ptr() != lm.model.get_input_embeddings().weight.data_ptr():
        return None
    probe = torch.tensor([next(iter(lm.tokenizer.encode([LEAD])[0]))], device=lm.device)
    return float(lm.embed(probe).norm() / output.weight[probe].norm())
