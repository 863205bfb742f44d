"""Where text, prompt, mask and special tokens stand: items -> rows of tokens with slots for the prompt.

| prompt | masked model | causal model |
|---|---|---|
| postfix (paper, eq. 1) | [CLS] x v1 ... vm [MASK] . [SEP] | BOS x v1 ... vm |
| prefix (PEFT) | v1 ... vm [CLS] x [MASK] . [SEP] | v1 ... vm BOS x |
| after_bos | [CLS] v1 ... vm x [MASK] . [SEP] | BOS v1 ... vm x |
| around:2 | [CLS] v1 v2 x v3 ... vm [MASK] . [SEP] | BOS v1 v2 x v3 ... vm |
| template | [CLS] The capital of x is [MASK] . [SEP] | BOS The capital of x is |

A masked model answers at its mask token (with OptiPrompt's full stop behind it), a causal one after the last
token; what follows [Y] in a template is not read by a causal model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from fuse_repro.data.prompt_task import ANSWER, SUBJECT, check_template
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.prompts import AFTER_BOS, SoftPrompt, before_text

FULL_STOP = " ."


@dataclass(frozen=True)
class Row:
    """One item as tokens.

    Attributes:
        ids: S token ids; -1 at the places of the m prompt vectors.
        answer: the position whose logits answer.
        cut: how many tokens of the text were left out because it was too long.
    """

    ids: tuple[int, ...]
    answer: int
    cut: int = 0


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows, padded on the right to S.

    Attributes:
        ids: [B, S] token ids, 0 at slots and padding.
        slots: [B, S] number of the prompt vector that stands there, or -1.
        mask: [B, S], True at tokens and slots; None if nothing is padded.
        answers: [B] the position whose logits answer.
    """

    ids: Tensor
    slots: Tensor
    mask: Tensor | None
    answers: Tensor

    def only(self, numbers: Tensor, width: int, padded: bool) -> "Batch":
        """Some of the rows, as `collate` would have made them.

        Args:
            numbers: [C] of the rows.
            width: the longest of them.
            padded: whether any of them is shorter.
        """
        ids, slots = (table[:, :width].index_select(0, numbers) for table in (self.ids, self.slots))
        mask = self.mask[:, :width].index_select(0, numbers) if padded and self.mask is not None else None
        return Batch(ids, slots, mask, self.answers.index_select(0, numbers))


@dataclass(frozen=True)
class Layout:
    """How a model reads items.

    Attributes:
        lm: a masked or a causal model.
        position: of a soft prompt of `length` vectors; see SoftPrompt.
        length: m; 0 for a template.
        template: a manual prompt, for m = 0.
        max_text_tokens: longer texts are cut at the end; None: no limit but the model's.
    """

    lm: FrozenModel
    position: str = "postfix"
    length: int = 0
    template: str | None = None
    max_text_tokens: int | None = None

    @classmethod
    def of(cls, lm: FrozenModel, prompt: SoftPrompt | str, max_text_tokens: int | None = None) -> "Layout":
        """The layout for a soft prompt or a template.

        Args:
            lm: the model that reads.
            prompt: a soft prompt of this model, or a template with [X] and [Y].
            max_text_tokens: longer texts are cut at the end; None: no limit but the model's.

        Raises:
            UsageError: `lm` cannot read the prompt.
        """
        if isinstance(prompt, SoftPrompt):
            prompt.check_model(lm)
            return cls(lm, prompt.position, prompt.length, None, max_text_tokens)
        check_template(lm.name, prompt)
        causal = not isinstance(lm, MaskedLM)
        if causal and prompt.index(SUBJECT) > prompt.index(ANSWER):
            raise UsageError(
                f"template={prompt!r} asks for {ANSWER} before {SUBJECT}, which the causal model {lm.name} cannot "
                "answer: use a masked model or another template"
            )
        return cls(lm, "postfix", 0, prompt, max_text_tokens)

    @property
    def _before(self) -> int:
        """How many vectors of a prompt around the text stand before it; 0 for other places."""
        return before_text(self.position) or 0

    @property
    def text_first(self) -> bool:
        """Whether all vectors stand behind the text."""
        return self.position == "postfix" or before_text(self.position) == 0

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """One row for each text.

        Raises:
            UsageError: a text without tokens, or one too long for the model.
        """
        tokenizer = self.lm.tokenizer
        shortened, cuts = self._shorten(texts)
        lefts, rights = self._surroundings(shortened)
        if self._before:
            read = [list(ids) for ids in tokenizer.behind_word([left.strip() for left in lefts])]
        else:
            read = [list(ids) for ids in tokenizer.encode(lefts)]
        parts = zip(texts, read, tokenizer.encode(rights), cuts, strict=True)
        return [self._row(text, tuple(left), tuple(right), cut) for text, left, right, cut in parts]

    def _row(self, text: str, left: tuple[int, ...], right: tuple[int, ...], cut: int) -> Row:
        """The tokens before and after the answer, with slots and special tokens put in."""
        slots = (-1,) * self.length
        own = self.lm.tokenizer.prefix_ids
        first = self._before
        places = {"prefix": (slots, own, left), AFTER_BOS: (own, slots, left), "postfix": (own, left, slots)}
        around = (own, slots[:first], left, slots[first:])
        head = tuple(chain.from_iterable(places.get(self.position, around)))
        if isinstance(self.lm, MaskedLM):
            whole = (*head, self.lm.mask_id, *right, *self.lm.tokenizer.suffix_ids)
            answer = len(head)
        else:
            whole, answer = head, len(head) - 1
        require(bool(whole), "text", text, f"a text that {self.lm.name} has tokens for")
        limit = self.lm.max_tokens
        if limit is not None and len(whole) > limit:
            raise UsageError(
                f"the text {text[:40]!r}... makes {len(whole)} tokens with its prompt, but {self.lm.name} reads at "
                f"most {limit}: set max_text_tokens lower"
            )
        return Row(whole, answer, cut)

    def _shorten(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """Texts of at most `max_text_tokens` tokens, and how many tokens each has lost."""
        limit = self.max_text_tokens
        if limit is None:
            return list(texts), [0] * len(texts)
        require(limit >= 1, "max_text_tokens", limit, "at least 1, or null for no limit")
        encoded = self.lm.tokenizer.encode(texts)
        cuts = [max(len(ids) - limit, 0) for ids in encoded]
        shortened = self.lm.tokenizer.decode([ids[:limit] for ids in encoded])
        return [short if cut else text for text, short, cut in zip(texts, shortened, cuts, strict=True)], cuts

    def _surroundings(self, texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """What stands before and after each answer, the text included."""
        if self.template is None:
            return list(texts), [FULL_STOP] * len(texts)
        before, after = self.template.split(ANSWER)
        return (
            [before.rstrip().replace(SUBJECT, text) for text in texts],
            [after.rstrip().replace(SUBJECT, text) for text in texts],
        )


def collate(rows: Sequence[Row], device: torch.device) -> Batch:
    """Rows to one batch, padded on the right."""
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *([-2] * (width - len(row.ids)))] for row in rows], device=device)
    is_slot = ids == -1
    slots = torch.where(is_slot, is_slot.long().cumsum(dim=1) - 1, -1)
    mask = None if min(len(row.ids) for row in rows) == width else ids != -2
    answers = torch.tensor([row.answer for row in rows], device=device)
    return Batch(ids.clamp_min(0), slots, mask, answers)


def by_length(lengths: Sequence[int]) -> list[int]:
    """The numbers of rows of these lengths, short ones first: batches of neighbours are hardly padded."""
    return sorted(range(len(lengths)), key=lengths.__getitem__)
