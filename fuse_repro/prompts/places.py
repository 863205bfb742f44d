"""Where a soft prompt stands for PEFT: in front of all tokens, or behind a model's own first one.

PEFT puts a prompt in front of everything. Models as Gemma begin every text with a token of their own (BOS), and hardly
feel what is in front of it. A prompt whose first rows are the embeddings of that token stands behind it.
"""

import torch
from torch import Tensor

from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.prompts.around import before_text
from fuse_repro.prompts.soft_prompt import AFTER_BOS, SoftPrompt

BOS = ("auto", "row", "none")
FRONT = "front"  # in a file's metadata: how many of its rows are the model's own first tokens


def peft_place(lm: FrozenModel, position: str, bos: str) -> str:
    """The place of a prompt that is written for PEFT.

    Args:
        lm: the model that shall read it.
        position: where the prompt stood in the model that it comes from.
        bos: `auto` and `row`: behind the model's own first tokens, where its tokenizer puts some in front (`auto`
            leaves masked models alone); `none`: in front of everything. PEFT knows no other place: `postfix` and
            `around:N` prompts stay what they are.

    Raises:
        UsageError: another word for `bos`.
    """
    require(bos in BOS, "runner.bos", bos, f"one of {', '.join(BOS)}")
    if position == "postfix" or before_text(position) is not None:
        return position
    behind = bos == "row" or (bos == "auto" and not isinstance(lm, MaskedLM))
    return AFTER_BOS if behind and lm.tokenizer.prefix_ids else "prefix"


@torch.no_grad()
def rows_for_peft(prompt: SoftPrompt, lm: FrozenModel) -> tuple[Tensor, int]:
    """The rows [m + f, d] that PEFT puts in front, and how many of them (f) are the model's own first tokens."""
    own = lm.tokenizer.prefix_ids if prompt.position == AFTER_BOS else ()
    if not own:
        return prompt.embeddings, 0
    first = lm.embed(torch.tensor(own, device=lm.device)).to(prompt.embeddings)
    return torch.cat([first, prompt.embeddings]), len(own)


def without_front(rows: Tensor, front: str, origin: object) -> Tensor:
    """The rows [m, d] of a file without the model's own first tokens.

    Args:
        rows: [m + f, d] as read.
        front: f, as the file's metadata have it.
        origin: the file, for messages.

    Raises:
        UsageError: no number, or no row would be left.
    """
    if not (front.isascii() and front.isdigit() and len(front) < 9 and int(front) < len(rows)):
        raise UsageError(
            f"{origin} says that {front!r} of its {len(rows)} rows are a model's own first tokens: a number below "
            f"{len(rows)} is needed; write the prompt again"
        )
    return rows[int(front) :]
