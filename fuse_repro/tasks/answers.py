"""Answer words as single tokens of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.data.prompt_task import PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

NOT_ONE_TOKEN = "with an answer of several tokens"


@dataclass(frozen=True, eq=False)
class Answers:
    """The candidates of a task in one model.

    Words are tokenised as they stand in running text (" Paris" where a leading space belongs to the token).
    Words that share a token (an uncased model's "Polish" and "polish") are one candidate.

    Attributes:
        words: the first word of each of the A candidates.
        ids: [A] their tokens.
        index: word -> number of its candidate.
        skipped: the words that are not one token, or a special one.
    """

    words: tuple[str, ...]
    ids: Tensor
    index: Mapping[str, int]
    skipped: tuple[str, ...]

    @classmethod
    def of(cls, lm: FrozenModel, words: Sequence[str]) -> "Answers":
        """The candidates among `words`.

        Raises:
            UsageError: none of the words is one token.
        """
        tokens = single_tokens(lm, words)
        if not tokens:
            shown = ", ".join(map(repr, words[:5]))
            raise UsageError(f"none of the {len(words)} answers ({shown} ...) is one token of {lm.name}")
        numbers: dict[int, int] = {}
        first: list[str] = []
        index = {}
        for word, token in tokens.items():
            if token not in numbers:
                numbers[token] = len(first)
                first.append(word)
            index[word] = numbers[token]
        ids = torch.tensor(list(numbers), dtype=torch.long, device=lm.device)
        return cls(tuple(first), ids, index, tuple(word for word in words if word not in tokens))


def single_tokens(lm: FrozenModel, words: Sequence[str]) -> dict[str, int]:
    """Word -> token, of the words that are one token of the model in running text, and no special one."""
    plain = [word for word in words if word.split() == [word]]
    tokens = zip(plain, lm.tokenizer.word_ids(plain), strict=True)
    special = lm.tokenizer.special_ids
    return {word: ids[0] for word, ids in tokens if len(ids) == 1 and ids[0] not in special}


def answerable(task: PromptTask, models: Sequence[FrozenModel]) -> PromptTask:
    """The task with the answers that are one token in every model, so that all of them can be compared.

    Items with other answers are counted in the task's `dropped`.

    Raises:
        UsageError: no item is left to test.
    """
    words = set(task.answers).intersection(*(single_tokens(lm, task.answers) for lm in models))
    return task.only(words, NOT_ONE_TOKEN)
