"""Likelihoods of many texts that begin alike."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM, NextToken

ROWS = 64  # of one forward pass, at first


@torch.no_grad()
def shared_prefix_nll(lm: CausalLM, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """As `prompt_nll`, for many texts that begin alike: every shared beginning is computed once.

    It walks over the tree of the texts' tokens. Texts that differ in their last token only need no pass of
    their own.
    """
    around = lm.tokenizer.prefix_ids
    texts = [[*around, *ids] for ids in token_ids]
    context = max(1, len(around))
    scored = torch.tensor([len(text) - context for text in texts], device=lm.device)
    if int(scored.min()) < 0:
        raise UsageError(f"{lm.name} cannot score an empty prompt: give a prefix of at least one token")
    nll = torch.zeros(len(texts), device=lm.device, dtype=torch.float32)

    def walk(state: NextToken, nodes: list[list[int]], depth: int) -> None:
        longer: dict[tuple[int, int], list[int]] = {}
        for node, rows in enumerate(nodes):
            tokens = [texts[row][depth] for row in rows]
            nll[rows] -= state.log_probs[node, tokens]
            for row, token in zip(rows, tokens, strict=True):
                if len(texts[row]) > depth + 1:
                    longer.setdefault((node, token), []).append(row)
        keys = list(longer)

        def advanced(part: slice) -> NextToken:
            parents, last = torch.tensor(keys[part], device=lm.device).T
            return state.advance(parents, last)

        for part, following in lm.batches("beginning", ROWS).each(len(keys), advanced):
            walk(following, [longer[key] for key in keys[part]], depth + 1)

    starts: dict[tuple[int, ...], list[int]] = {}
    for row, text in enumerate(texts):
        if len(text) > context:
            starts.setdefault(tuple(text[:context]), []).append(row)
    for begin, rows in starts.items():
        walk(lm.start(torch.tensor([begin], device=lm.device)), [rows], context)
    return nll, scored
