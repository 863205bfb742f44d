"""Answer words as tokens of a model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

NOT_ONE_TOKEN = "with an answer of several tokens"
Pieces = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Answers:
    """The candidates of a task in one model.

    Words are tokenised as they stand in running text (" Paris" where a leading space belongs to the token).
    Words that share their tokens (an uncased model's "Polish" and "polish") are one candidate.

    Attributes:
        words: the first word of each of the A candidates.
        ids: [A] the columns of a reader's values that belong to the candidates: their tokens; where `pieces` are given,
            their own numbers.
        index: word -> number of its candidate.
        skipped: the words that are no candidates: not one token, or a special one.
        pieces: all tokens of every candidate, where any candidate has several that are scored together.
    """

    words: tuple[str, ...]
    ids: Tensor
    index: Mapping[str, int]
    skipped: tuple[str, ...]
    pieces: tuple[Pieces, ...] | None = None

    @classmethod
    def of(cls, lm: FrozenModel, words: Sequence[str], multi_token: str = "drop") -> "Answers":
        """The candidates among `words`.

        Args:
            lm: the model that answers.
            words: of the task.
            multi_token: what is done with words of several tokens; see PromptTask.

        Raises:
            UsageError: none of the words can be a candidate, or `multi_token` does not allow one of them.
        """
        found = _candidates(lm, words, multi_token)
        if not found:
            shown = ", ".join(map(repr, words[:5]))
            raise UsageError(f"none of the {len(words)} answers ({shown} ...) is one token of {lm.name}")
        numbers: dict[Pieces, int] = {}
        first: list[str] = []
        index = {}
        for word, pieces in found.items():
            if pieces not in numbers:
                numbers[pieces] = len(first)
                first.append(word)
            index[word] = numbers[pieces]
        whole = any(len(pieces) > 1 for pieces in numbers)
        columns = list(range(len(first))) if whole else [pieces[0] for pieces in numbers]
        ids = torch.tensor(columns, dtype=torch.long, device=lm.device)
        skipped = tuple(word for word in words if word not in found)
        return cls(tuple(first), ids, index, skipped, tuple(numbers) if whole else None)

    def asked(self, items: Iterable[Item]) -> list[tuple[Item, tuple[int, ...]]]:
        """The items that have a candidate among their right answers, and the numbers of these, the aim first."""
        found = []
        for item in items:
            right = dict.fromkeys(self.index[word] for word in item.right if word in self.index)
            if right:
                found.append((item, tuple(right)))
        return found


def credited(values: Tensor, gold: Tensor, right: Tensor | None) -> Tensor:
    """[N] the numbers that count as the answers: the best candidate wherever it is right, else the first right one.

    Args:
        values: [N, A] of the candidates.
        gold: [N] the first right one.
        right: bool [N, A], where several may be right; None where only `gold` is.
    """
    if right is None:
        return gold
    best = values.argmax(dim=1)
    return torch.where(right.gather(1, best[:, None])[:, 0], best, gold)


def right_table(right: Sequence[Sequence[int]], candidates: int, device: torch.device) -> Tensor | None:
    """Bool [N, A]: which candidates are right for each of N items; None where every item has one."""
    if all(len(numbers) == 1 for numbers in right):
        return None
    table = torch.zeros(len(right), candidates, dtype=torch.bool)
    for row, numbers in enumerate(right):
        table[row, list(numbers)] = True
    return table.to(device)


def single_tokens(lm: FrozenModel, words: Sequence[str]) -> dict[str, int]:
    """Word -> token, of the words that are one token of the model in running text, and no special one."""
    plain = [word for word in words if word.split() == [word]]
    tokens = zip(plain, lm.tokenizer.word_ids(plain), strict=True)
    special = lm.tokenizer.special_ids
    return {word: ids[0] for word, ids in tokens if len(ids) == 1 and ids[0] not in special}


def word_pieces(lm: FrozenModel, words: Sequence[str]) -> dict[str, Pieces]:
    """Word or words -> their tokens in running text; left out are those without tokens and with special ones."""
    plain = [word for word in words if word.split()]
    special = lm.tokenizer.special_ids
    found = lm.tokenizer.behind_word([" ".join(word.split()) for word in plain])
    pieces = zip(plain, found, strict=True)
    return {word: ids for word, ids in pieces if ids and not special.intersection(ids)}


def answerable(task: PromptTask, models: Sequence[FrozenModel]) -> PromptTask:
    """The task with the answers that every model can give, so that all of them can be compared.

    Items with other answers are counted in the task's `dropped`.

    Raises:
        UsageError: no item is left to test, or an answer that the task's `multi_token` does not allow.
    """
    found = (_candidates(lm, task.answers, task.multi_token) for lm in models)
    return task.only(set(task.answers).intersection(*found), NOT_ONE_TOKEN)


def check_answers(tasks: Iterable[PromptTask], models: Sequence[FrozenModel]) -> None:
    """Check that every model can be asked for the tasks' answers, before anything is done.

    Raises:
        UsageError: an answer that a task's `multi_token` does not allow.
    """
    for task in tasks:
        for lm in models:
            _candidates(lm, task.answers, task.multi_token)


def _candidates(lm: FrozenModel, words: Sequence[str], multi_token: str) -> dict[str, Pieces]:
    """Word -> the tokens that are asked for. Raises UsageError for a word that `multi_token` does not allow."""
    single: dict[str, Pieces] = {word: (token,) for word, token in single_tokens(lm, words).items()}
    if multi_token == "drop" or len(single) == len(words):
        return single
    pieces = single | {word: ids for word, ids in word_pieces(lm, words).items() if word not in single}
    if multi_token == "refuse":
        _refuse(lm, [word for word in words if word not in single], pieces)
    return pieces if multi_token == "whole" else _first(lm, pieces)


def _refuse(lm: FrozenModel, words: Sequence[str], pieces: Mapping[str, Pieces]) -> None:
    cut = [lm.tokenizer.decode([[piece] for piece in pieces.get(word, ())]) for word in words[:3]]
    shown = ", ".join(f"{word!r} ({'|'.join(parts)})" for word, parts in zip(words, cut, strict=False))
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    raise UsageError(
        f"dataset.multi_token='refuse' does not allow answers that are no single token of {lm.name}: {shown}{more}; "
        "take other words, or set dataset.multi_token=whole (all tokens are scored), first (the first one alone), or "
        "drop (their items are left out and counted)"
    )


def _first(lm: FrozenModel, pieces: Mapping[str, Pieces]) -> dict[str, Pieces]:
    """The first token of every word. Raises UsageError for two words that it does not tell apart."""
    owners: dict[int, str] = {}
    for word, ids in pieces.items():
        other = owners.setdefault(ids[0], word)
        if pieces[other] != ids:
            raise UsageError(
                f"dataset.multi_token='first' does not tell {other!r} from {word!r}: both begin with the same token of "
                f"{lm.name}; take other words, or set dataset.multi_token=whole or drop"
            )
    return {word: ids[:1] for word, ids in pieces.items()}
