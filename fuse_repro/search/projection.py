"""From scores or vectors to whole prompts that survive decode -> encode, one token after another."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fuse_repro.errors import UsageError, require
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.precision import full_precision
from fuse_repro.search.candidates import propose
from fuse_repro.search.constraints import Permitted
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.unread import Opening, State

Prompt = tuple[int, ...]
STARTS = ("likely", "random")
TINY = 1e-9


def grow(
    prompts: Sequence[Prompt],
    lm: CausalLM,
    tokens: int,
    score: Callable[[int, list[Prompt]], Tensor],
    permitted: Permitted | None = None,
) -> list[Prompt]:
    """Every prompt with `tokens` more tokens: each the best-scored one that survives after those before it.

    Args:
        prompts: B prompts.
        lm: the model whose tokens they are.
        tokens: how many are added to each.
        score: the number of the token (from 0) and the B prompts so far -> [B, V].
        permitted: what may be written; None for all.

    Raises:
        UsageError: a prompt has no next token that survives.
    """
    grown = list(prompts)
    for place in range(tokens):
        scores, keeps = score(place, grown), None
        if permitted is not None:
            scores, keeps = permitted.masked(scores, grown), permitted.keeps
        found = propose(scores, grown, lm.tokenizer, 1, keeps)
        if len(found) < len(grown):
            raise UsageError(
                f"a prompt of {lm.name} cannot go on: no next token survives decode -> encode; "
                "change prefix, or lift optimizer.constraints"
            )
        grown = [(*prompt, candidate.token) for prompt, candidate in zip(grown, found, strict=True)]
    return grown


def starting_prompts(
    problem: PromptProblem,
    count: int,
    tokens: int,
    start: str,
    generator: torch.Generator,
    permitted: Permitted | None = None,
) -> list[Prompt]:
    """The prefix with random tokens after it.

    Args:
        problem: gives the prefix and the language model.
        count: how many prompts.
        tokens: how many tokens come after the prefix.
        start: "random" (each token as probable as any other) or "likely" (drawn from the language model,
            token after token).
        generator: of the draws.
        permitted: what may be written; None for all.

    Raises:
        UsageError: another start, or a prefix that is not read back as it is written.
    """
    require(start in STARTS, "optimizer.start", start, f"one of {', '.join(STARTS)}")
    lm, prefix = problem.lm, problem.prefix_ids()
    drawing = Drawing(problem, count)

    def score(place: int, prompts: list[Prompt]) -> Tensor:
        uniform = torch.rand(count, lm.tokenizer.vocab_size, generator=generator).to(lm.device)
        if start == "random":
            return uniform
        gumbel = -(-uniform.clamp(TINY, 1 - TINY).log()).clamp_min(TINY).log()
        return drawing.log_probs(prompts) + gumbel  # the largest is a draw from p (Gumbel 1954)

    return grow([prefix] * count, lm, tokens, score, permitted)


class Drawing:
    """What may come next in prompts that are drawn from a language model, each behind a context of the problem.

    Args:
        problem: gives the language model and the contexts; without contexts a prompt is a text of its own.
        count: how many prompts are drawn side by side; they take the contexts in turn.
    """

    def __init__(self, problem: PromptProblem, count: int) -> None:
        self._lm = problem.lm
        contexts = problem.lm.tokenizer.encode(problem.contexts) if problem.contexts else [()]
        rows = [list(range(place, count, len(contexts))) for place in range(len(contexts))]
        self._groups = [(tuple(ids), own) for ids, own in zip(contexts, rows, strict=True) if own]
        self._states: list[State] = []

    def log_probs(self, prompts: Sequence[Prompt]) -> Tensor:
        """Of the next token of every prompt, which has one token more than in the last call: [count, V], in nats."""
        if self._states:
            self._states = [
                self._next(state, [prompts[row][-1] for row in rows])
                for state, (_, rows) in zip(self._states, self._groups, strict=True)
            ]
        else:
            self._states = [self._begin(ids, [prompts[row] for row in rows]) for ids, rows in self._groups]
        order = torch.tensor([row for _, rows in self._groups for row in rows], device=self._lm.device)
        return torch.cat([state.log_probs for state in self._states])[order.argsort()]

    def _begin(self, context: Prompt, prompts: Sequence[Prompt]) -> State:
        lm = self._lm
        if Opening.fits(lm, (*context, *prompts[0])):
            return Opening.of(lm, len(prompts))
        ids = [[*lm.tokenizer.prefix_ids, *context, *prompt] for prompt in prompts]
        return lm.start(torch.tensor(ids, device=lm.device))

    def _next(self, state: State, tokens: Sequence[int]) -> State:
        rows = torch.arange(len(tokens), device=self._lm.device)
        return state.advance(rows, torch.tensor(tokens, device=self._lm.device))


def project(problem: PromptProblem, vectors: Tensor, permitted: Permitted | None = None) -> list[Prompt]:
    """The prefix with the tokens nearest to vectors [B, n, d] after it, by cosine (PEZ, arXiv 2302.03668)."""
    lm = problem.lm
    table = lm.embedding_table()
    lengths = table.float().norm(dim=1).clamp_min(TINY)
    unit = normalize(vectors.float(), dim=-1).to(table)

    def score(place: int, prompts: list[Prompt]) -> Tensor:
        with full_precision(lm.device):
            return (unit[:, place] @ table.T).float() / lengths

    prefix = problem.prefix_ids()
    return grow([prefix] * len(vectors), lm, vectors.shape[1], score, permitted)
