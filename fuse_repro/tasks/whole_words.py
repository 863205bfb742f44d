"""Answers of several tokens: every candidate is scored by all of its tokens together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.tasks.answers import Pieces
from fuse_repro.tasks.layout import Row, collate
from fuse_repro.tasks.predict import answer_logits, fill


class WholeWordReader:
    r"""Reads items once for every way in which a candidate can begin.

    The value of a candidate with tokens t_1 ... t_k is the logarithm, in nats, of the probability that the model gives
    to all of them. A causal model reads them one behind the other: \sum_i log p(t_i | text, t_1 ... t_{i-1}). A masked
    model sees k mask tokens and fills each by itself: \sum_i log p(t_i | text). Nothing is divided by k, so that longer
    words need more luck.

    Args:
        lm: a masked or causal language model.
        rows: the items.
        pieces: the tokens of the A candidates.

    Attributes:
        lengths: tokens of every item, the candidate's left out.

    Raises:
        UsageError: an item that is too long for the model with the longest candidate.
    """

    def __init__(self, lm: FrozenModel, rows: Sequence[Row], pieces: Sequence[Pieces]) -> None:
        self.lm = lm
        self.lengths = [len(row.ids) for row in rows]
        self._rows, self._pieces = rows, pieces
        self._stems: dict[Pieces, list[int]] = {}  # what stands in the row -> the candidates that it answers
        for number, ids in enumerate(pieces):
            self._stems.setdefault(self._stem(ids), []).append(number)
        longest = max(self.lengths, default=0) + max(map(len, self._stems))
        limit = lm.max_tokens
        if limit is not None and longest > limit:
            raise UsageError(
                f"a text makes {longest} tokens with its prompt and the longest answer, but {lm.name} reads at most "
                f"{limit}: set max_text_tokens lower"
            )

    def logits(self, numbers: Sequence[int], prompt: Tensor | None) -> Tensor:
        """Log-probabilities [B, A] of the candidates; differentiable by the prompt.

        Args:
            numbers: B items.
            prompt: [m, d], which all of them read, [B, m, d], one for each, or None for a written one.
        """
        rows = [self._rows[number] for number in numbers]
        found: list[Tensor] = []
        order: list[int] = []
        for stem, candidates in self._stems.items():
            found.append(self._of_stem(rows, prompt, stem, [self._pieces[number] for number in candidates]))
            order += candidates
        places = torch.tensor(order, device=self.lm.device).argsort()
        return torch.cat(found, dim=1)[:, places]

    def _of_stem(
        self, rows: Sequence[Row], prompt: Tensor | None, stem: Pieces, candidates: Sequence[Pieces]
    ) -> Tensor:
        """[B, C] of the C candidates that are read off one row of every item."""
        batch = collate([self._with(row, stem) for row in rows], self.lm.device)
        tokens = torch.tensor(candidates, device=self.lm.device)  # [C, k]
        steps = torch.arange(tokens.shape[1], device=self.lm.device)
        embeddings = fill(batch, self.lm.embed(batch.ids), prompt)
        logits = answer_logits(self.lm, embeddings, batch.mask, batch.answers[:, None] + steps)
        log_probs = logits.float().log_softmax(dim=-1)  # [B, k, V]
        return log_probs[:, steps, tokens].sum(dim=-1)

    def _stem(self, ids: Pieces) -> Pieces:
        return (self.lm.mask_id,) * (len(ids) - 1) if isinstance(self.lm, MaskedLM) else ids[:-1]

    def _with(self, row: Row, stem: Pieces) -> Row:
        """The row with more tokens behind the place where the answer begins."""
        after = row.answer + 1
        return Row((*row.ids[:after], *stem, *row.ids[after:]), row.answer, row.cut)
