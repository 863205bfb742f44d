"""Sums of gradients over spans of tokens: what every map does with the tokens of a word."""

from collections.abc import Sequence

import torch
from torch import Tensor

Span = tuple[int, int, int]  # row, first token, the place behind the last one


def span_sums(gradient: Tensor, spans: Sequence[Span]) -> Tensor:
    """The sum of the gradient over every span: [B, S, d] -> [n, d], zero for an empty span.

    Tokens are gathered and then summed, not added where they meet, so that a GPU gives the same sum each time.

    Args:
        gradient: by the embeddings of B texts of S tokens, [B, S, d].
        spans: n times a row and its tokens.
    """
    longest = max((stop - start for _, start, stop in spans), default=0)
    if longest == 0:
        return gradient.new_zeros(len(spans), gradient.shape[2])
    # One copy to the device: rows, first tokens, numbers of tokens.
    where = torch.tensor([(row, start, stop - start) for row, start, stop in spans], device=gradient.device)
    rows, starts, counts = where.unsqueeze(2).unbind(1)
    offsets = torch.arange(longest, device=gradient.device)
    inside = offsets < counts
    tokens = torch.where(inside, starts + offsets, 0)
    return (gradient[rows, tokens] * inside.unsqueeze(2)).sum(1)
