"""A soft prompt around the text, in place of the words of a written template: some vectors before it, others behind.

Its position is the text `around:N`, N the number of vectors before the text.
"""

from collections.abc import Sequence

from fuse_repro.data.prompt_task import ANSWER, SUBJECT
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel

AROUND = "around:"


def around(before: int) -> str:
    """The position of a prompt with so many vectors before the text."""
    return f"{AROUND}{before}"


def before_text(position: str) -> int | None:
    """How many vectors stand before the text; None for a position that is not around it."""
    number = position.removeprefix(AROUND)
    if number == position or not (number.isascii() and number.isdigit() and len(number) < 9):
        return None
    return int(number)


def template_ids(lm: FrozenModel, template: str) -> tuple[list[int], list[int]]:
    """The model's tokens of a template before its text and between text and answer; what follows [Y] is left out.

    Args:
        lm: the model that reads.
        template: with [X] and [Y], such as "The capital of [X] is [Y] .".

    Raises:
        UsageError: the answer stands before the text, or there are no words beside the text.
    """
    first = template.index(SUBJECT) < template.index(ANSWER)
    require(first, "template", template, f"one with {SUBJECT} before {ANSWER}, for a prompt around the text")
    before, _, rest = template.partition(SUBJECT)
    between = rest.partition(ANSWER)[0].rstrip()
    (front,) = lm.tokenizer.encode([before.rstrip()]) if before.strip() else ([],)
    behind: Sequence[int] = ()
    if between.strip():  # what begins with no space goes on with a word
        (behind,) = (
            lm.tokenizer.behind_word([between.strip()])
            if between[0].isspace()
            else lm.tokenizer.encode([between])
        )
    some = f"one with words before or behind {SUBJECT}, for a prompt in their places"
    require(bool(front or behind), "template", template, some)
    return list(front), list(behind)
