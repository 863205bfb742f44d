"""Forward passes over rows of tokens, for the answers in them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.keys_values import KeysValues
from fuse_repro.models.positions import takes

ROWS = 64  # rows of one forward pass, at first
ROWS_WITH_GRADIENT = 16
LOGITS = 2**26  # numbers that the logits of one forward pass may have


@dataclass(frozen=True)
class Row:
    """A prompt with an example, as far as it is read.

    Attributes:
        ids: the tokens that are read, without those whose keys and values are known.
        at: the place of the state that says the first token of the answer; the others follow.
        labels: the tokens of the answer, or the number of the candidate that it is.
        start: the number of what stands before, in a memory.
        prompt: the number of the prompt, where embeddings are given for it.
        begin: where the prompt begins in the row.
    """

    ids: tuple[int, ...]
    at: int
    labels: tuple[int, ...]
    start: int = 0
    prompt: int = 0
    begin: int = 0


@dataclass(frozen=True, eq=False)
class Prompts:
    """The embeddings of prompts, through which gradients are taken.

    Attributes:
        embeddings: [B, S, d], padded on the right.
        lengths: tokens of every prompt.
    """

    embeddings: Tensor
    lengths: Sequence[int]


def nats(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of labels [rows, n] by logits [rows, n, V], in nats per token: [rows]."""
    return (logits.logsumexp(-1) - logits.gather(-1, labels[..., None]).squeeze(-1)).mean(-1)


def log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities [rows, V] of what may come first, in nats."""
    return logits[:, 0].log_softmax(-1)


def read_answers(
    lm: FrozenModel,
    rows: Sequence[Row],
    memory: KeysValues | None,
    candidates: Tensor | None,
    prompts: Prompts | None = None,
    of: Callable[[Tensor, Tensor], Tensor] = nats,
) -> Tensor:
    """What `of` makes of the logits where the answer of every row is said, [rows, ...].

    Rows of one shape share a forward pass, so that nothing is padded. With gradients, and more rows than one pass
    takes, every pass is computed once more when they are taken: the states of all rows at once may not fit in memory.

    Args:
        lm: a causal or masked language model.
        rows: what is read.
        memory: the keys and values of what stands before the rows; None where nothing is known.
        candidates: [A] the tokens that the answers compete with; None for the whole vocabulary.
        prompts: their embeddings, in place of the tokens in the rows.
        of: `nats` of the answers, or `log_probs` of the candidates.
    """
    size = _size(lm, rows, ROWS if prompts is None else ROWS_WITH_GRADIENT)
    again = prompts is not None and len(rows) > size
    shapes: dict[tuple[int, int, int], list[int]] = {}
    for number, row in enumerate(rows):
        shapes.setdefault((len(row.ids), row.at, len(row.labels)), []).append(number)
    found: list[Tensor] = []
    for numbers in shapes.values():

        def likelihood(part: slice, numbers: list[int] = numbers) -> Tensor:
            chosen = [rows[number] for number in numbers[part]]
            given = None if prompts is None else prompts.embeddings
            lengths = None if prompts is None else prompts.lengths
            run = partial(_read, lm, chosen, memory, candidates, of, lengths)
            values: Tensor = checkpoint(run, given, use_reentrant=False) if again else run(given)
            return values

        found += [values for _, values in lm.batches("answer", size).each(len(numbers), likelihood)]
    order = torch.tensor([number for numbers in shapes.values() for number in numbers])
    return torch.cat(found)[order.argsort().to(lm.device)]


def _size(lm: FrozenModel, rows: Sequence[Row], most: int) -> int:
    """How many rows share a forward pass at first: a power of two, less where answers are long."""
    fit = LOGITS // (max(len(row.labels) for row in rows) * lm.tokenizer.vocab_size)
    return min(most, 1 << max(fit.bit_length() - 1, 0))


def _read(
    lm: FrozenModel,
    rows: Sequence[Row],
    memory: KeysValues | None,
    candidates: Tensor | None,
    of: Callable[[Tensor, Tensor], Tensor],
    lengths: Sequence[int] | None,
    given: Tensor | None,
) -> Tensor:
    """[rows, ...] of one shape, in one forward pass."""
    embeddings = lm.embed(torch.tensor([row.ids for row in rows], device=lm.device))
    if lengths is not None and given is not None:
        embeddings = _filled(embeddings, rows, lengths, given)
    labels = torch.tensor([row.labels for row in rows], device=lm.device)
    places = torch.arange(rows[0].at, rows[0].at + labels.shape[1], device=lm.device)
    logits = _logits(lm, embeddings, places, memory, [row.start for row in rows])
    if candidates is not None:
        logits = logits[..., candidates]
    return of(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


def _filled(embeddings: Tensor, rows: Sequence[Row], lengths: Sequence[int], given: Tensor) -> Tensor:
    """The embeddings of the rows with those of the prompts, [B, S, d], in their places."""
    places = [
        (number, row.begin + step, row.prompt, step)
        for number, row in enumerate(rows)
        for step in range(lengths[row.prompt])
    ]
    if not places:
        return embeddings
    own, at, prompt, step = torch.tensor(places, device=embeddings.device).T
    return embeddings.index_put((own, at), given[prompt, step].to(embeddings))


def _logits(
    lm: FrozenModel, embeddings: Tensor, places: Tensor, memory: KeysValues | None, starts: Sequence[int]
) -> Tensor:
    """Logits [rows, n, V] at n places; a causal model's head computes no others."""
    if not isinstance(lm, CausalLM):
        found: Tensor = lm(embeddings)
        return found[:, places]
    arguments: dict[str, Any] = (
        {"use_cache": False} if memory is None else memory.behind(starts, embeddings.shape[1])
    )
    keeps = takes(lm.model, "logits_to_keep")
    if keeps:
        arguments["logits_to_keep"] = places
    output = lm.model(inputs_embeds=embeddings.to(lm.dtype), **arguments)
    logits: Tensor = output.logits if keeps else output.logits[:, places]
    return logits[..., : lm.tokenizer.vocab_size]
