"""How natural a prompt is to the primary language model (FUSE, first term of eq. 6)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives.prompt_batch import PromptBatch

ROWS = 64  # prompts whose logits at every token are held at once, at first


@torch.no_grad()
def prompt_nll(lm: CausalLM, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood of B prompts, in nats: ([B], number of tokens scored [B]).

    One full forward pass per prompt length. The special tokens that the tokenizer puts before a text are
    context and are not scored. Without any, the first token of the prompt is the context.

    Raises:
        UsageError: a prompt without a token to serve as context.
    """
    prefix = lm.tokenizer.prefix_ids
    context = max(1, len(prefix))
    counts = [len(prefix) + len(ids) - context for ids in token_ids]
    if min(counts) < 0:
        raise UsageError(f"{lm.name} cannot score an empty prompt: give a prefix of at least one token")
    nll = torch.zeros(len(token_ids), device=lm.device, dtype=torch.float32)

    def likelihood(ids: Tensor) -> Tensor:
        log_probs = lm(lm.embed(ids)).float().log_softmax(-1)
        return log_probs[:, context - 1 : -1].gather(-1, ids[:, context:, None]).squeeze(-1).sum(1)

    batches = lm.batches("whole prompt", ROWS)
    for length in sorted({len(ids) for ids in token_ids}):
        rows = [row for row, ids in enumerate(token_ids) if len(ids) == length]
        whole = torch.tensor([[*prefix, *token_ids[row]] for row in rows], device=lm.device)
        nll[rows] = -batches(likelihood, whole)
    return nll, torch.tensor(counts, device=lm.device)


class FluencyTerm(nn.Module):
    """Mean negative log-likelihood of a prompt's tokens, in nats per token.

    The search already knows the sum from its own forward pass and passes it in the batch. For a batch of
    texts alone it is computed here, with the same result.

    Args:
        lm: the primary language model.
    """

    def __init__(self, lm: CausalLM) -> None:
        super().__init__()
        self._lm = (lm,)

    def forward(self, batch: PromptBatch) -> Tensor:
        """[B] nats per token."""
        nll, scored = batch.nll, batch.scored
        if nll is None or scored is None:
            lm = self._lm[0]
            nll, scored = prompt_nll(lm, lm.tokenizer.encode(batch.texts))
        return nll / scored.clamp(min=1)
