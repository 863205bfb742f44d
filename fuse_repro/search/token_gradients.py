"""The objective's gradient by every token of whole prompts, the language model's own and through adapters."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.precision import as_forward, full_precision
from fuse_repro.objectives import LossValues, PromptBatch
from fuse_repro.objectives.secondary_fluency import tied_scale
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.proposal import fluency_weight
from fuse_repro.search.traces import carried_terms


@dataclass(frozen=True)
class Reading:
    """A language model's likelihood of B prompts of S tokens, as its own tokens say it.

    `log_probs` and `label` are zero at a first token that is not scored.

    Attributes:
        nll: [B], summed, in nats.
        scored: [B], over how many tokens.
        embeddings: [B, S, d], the gradient of `nll` by what is read.
        log_probs: [B, S, V], of every token at every place, in nats.
        label: [B, S, d], the gradient of `nll` by what is predicted; zero where input and output embeddings
            are not tied.
    """

    nll: Tensor
    scored: Tensor
    embeddings: Tensor
    log_probs: Tensor
    label: Tensor


@dataclass(frozen=True)
class TokenGradients:
    """The objective of B prompts of S tokens, and its gradients.

    Attributes:
        values: the objective and its terms, without gradients.
        nll: [B], the prompts' summed negative log-likelihood, in nats; zeros if fluency does not count.
        scored: [B], over how many tokens; ones if fluency does not count.
        embeddings: [B, S, d], the gradient by the primary model's embeddings; the gradients of other models
            are pulled back to them.
        reading: the language model's own likelihood; None if fluency does not count.
        fluency: the weight of the language model's nats per token in the objective.
        traces: per adapter the gradient by its target's embeddings and the alignment of the texts.
        table: [V, d], the primary model's embeddings.
    """

    values: LossValues
    nll: Tensor
    scored: Tensor
    embeddings: Tensor
    reading: Reading | None
    fluency: float
    traces: Sequence[tuple[EmbeddingMap, Tensor, Alignment]]
    table: Tensor

    def scores(self, row: int, positions: Sequence[int]) -> Tensor:
        """First-order change with each of V tokens in place of one, up to a constant per position: [n, V].

        The gradient by a one-hot choice among tokens (GCG, arXiv 2307.15043, section 2.2). A token's own likelihood
        is linear in that choice, so log p(token) is its exact share.
        """
        fluency, carried = self.score_parts([row], positions)
        return fluency + carried

    def score_parts(self, rows: Sequence[int], positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """As `scores`, the mean over these rows: of the primary model's fluency, and of the terms with adapters.

        Both are linear in the gradients, so that the tokens are scored once, however many rows there are.
        """
        with full_precision(self.table.device):
            return self._fluency_scores(rows, positions), self._carried_scores(rows, positions)

    def _fluency_scores(self, rows: Sequence[int], positions: Sequence[int]) -> Tensor:
        shape = (len(positions), len(self.table))
        if self.reading is None:
            return torch.zeros(shape, device=self.table.device, dtype=torch.float32)
        at = (torch.tensor(list(rows))[:, None], torch.tensor(list(positions)))
        share = (self.fluency / self.scored[list(rows)])[:, None, None]
        read = (share * self.reading.embeddings[at]).mean(0).to(self.table)
        return (read @ self.table.T).float() - (share * self.reading.log_probs[at]).mean(0)

    def _carried_scores(self, rows: Sequence[int], positions: Sequence[int]) -> Tensor:
        shape = (len(positions), len(self.table))
        total = torch.zeros(shape, device=self.table.device, dtype=torch.float32)
        for adapter, gradient, alignment in self.traces:
            pulled = adapter.pull_tokens(gradient, alignment, positions)[list(rows)]
            total = total + adapter.score_tokens(pulled.float().mean(0))
        return total


def token_gradients(problem: PromptProblem, prompts: Sequence[Sequence[int]]) -> TokenGradients:
    """Gradients of B prompts of equally many tokens, in one forward and one backward pass of every model.

    Raises:
        UsageError: no term of the objective has a gradient.
    """
    lm, fluency = problem.lm, fluency_weight(problem)
    ids = torch.tensor([list(prompt) for prompt in prompts], device=lm.device)
    reading = read(lm, ids) if fluency > 0 else None
    terms = carried_terms(problem)
    if reading is None and not terms:
        raise UsageError("no term of the objective has a gradient: give one an adapter, or use random search")
    nll = ids.new_zeros(len(ids), dtype=torch.float32) if reading is None else reading.nll
    scored = torch.ones_like(ids[:, 0]) if reading is None else reading.scored
    adapters = list(dict.fromkeys(term.adapter for term in terms.values()))
    embeddings = lm.embed(ids).detach().requires_grad_(True)
    with ExitStack() as stack, torch.enable_grad():
        seen = [stack.enter_context(adapter.watching()) for adapter in adapters]
        batch = PromptBatch(lm.tokenizer.decode(ids.tolist()), problem.targets, nll, scored, embeddings)
        values = problem.objective(batch)
        found = [
            (adapter, *trace) for adapter, traces in zip(adapters, seen, strict=True) for trace in traces
        ]
        gradients: Sequence[Tensor] = (torch.zeros_like(embeddings),)
        if found:
            wanted = [embeddings, *(target for _, target, _ in found)]
            with as_forward(lm.device):  # inside of it, maps pull gradients back in full precision
                gradients = torch.autograd.grad(
                    torch.stack([values.weighted[n] for n in terms]).sum(), wanted
                )
    total = gradients[0].float()
    if reading is not None:
        total = total + fluency / scored[:, None, None] * (reading.embeddings + reading.label)
    pairs = zip(gradients[1:], found, strict=True)
    traces = [(adapter, gradient, alignment) for gradient, (adapter, _, alignment) in pairs]
    table = lm.embedding_table()
    return TokenGradients(_detached(values), nll, scored, total, reading, fluency, traces, table)


def read(lm: CausalLM, ids: Tensor) -> Reading:
    """How likely prompts [B, S] are, and the gradients of that; special tokens in front are context."""
    around = torch.tensor(lm.tokenizer.prefix_ids, dtype=torch.long, device=lm.device)
    content = lm.embed(ids).detach().requires_grad_(True)
    with torch.enable_grad():
        whole = torch.cat([lm.embed(around).expand(len(ids), -1, -1).to(content), content], dim=1)
        output = lm.model(inputs_embeds=whole, use_cache=False, output_hidden_states=True)
        logits = output.logits[..., : lm.tokenizer.vocab_size].float()
        # The state before a token predicts it; without anything in front, the first token is not scored.
        first = max(0, 1 - len(around))
        begin = len(around) + first - 1
        log_probs = logits[:, begin:-1].log_softmax(-1)
        picked = log_probs.gather(-1, ids[:, first:, None]).squeeze(-1)
        nll = -picked.sum(1)
        (gradient,) = torch.autograd.grad(nll.sum(), content)
    scale = tied_scale(lm)
    label = torch.zeros_like(gradient, dtype=torch.float32)
    if scale is not None:
        label[:, first:] = -output.hidden_states[-1].detach()[:, begin:-1].float() / scale
    before = log_probs.detach().new_zeros(len(ids), first, log_probs.shape[-1])
    scored = torch.full_like(ids[:, 0], ids.shape[1] - first)
    return Reading(nll.detach(), scored, gradient.float(), torch.cat([before, log_probs.detach()], 1), label)


def _detached(values: LossValues) -> LossValues:
    raw, weighted = ({n: v.detach() for n, v in column.items()} for column in (values.raw, values.weighted))
    return LossValues(values.total.detach(), raw, weighted)
