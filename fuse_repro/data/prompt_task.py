"""A prompting task: texts, the label word that answers each, and the words to choose from; split by text."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from fuse_repro.errors import UsageError, require

SPLITS = ("train", "dev", "test")
MULTI_TOKEN = ("drop", "refuse", "first", "whole")  # what is done with answers of several tokens
SUBJECT, ANSWER = "[X]", "[Y]"


@dataclass(frozen=True)
class Item:
    """A text and the word that answers it.

    Attributes:
        text: the subject of a fact, or what is to be classified.
        answer: the label word.
        also: further answers that are right as well.
    """

    text: str
    answer: str
    also: tuple[str, ...] = ()

    @property
    def right(self) -> tuple[str, ...]:
        """Every right answer, the one that prompts are tuned towards first."""
        return (self.answer, *self.also)

    def only(self, wanted: Set[str]) -> "Item | None":
        """The item with those of its right answers that are wanted; None where there is none."""
        left = [word for word in self.right if word in wanted]
        return Item(self.text, left[0], tuple(left[1:])) if left else None


@dataclass(frozen=True)
class PromptTask:
    """One relation, or one classification data set.

    Attributes:
        name: for records and tables ("P36", "sst2").
        answers: the distinct words to choose from.
        splits: items of `train`, `dev` and `test`; `test` has at least one.
        template: the manual prompt, with [X] for the text and [Y] for the answer.
        label: the name in words ("capital").
        dropped: why items of the data were left out, and how many.
        multi_token: what is done with answers that are several tokens of a model: `drop` leaves their items out and
            counts them, `refuse` is an error, `first` asks for the first token alone, `whole` scores all tokens.

    Raises:
        UsageError: no test items, an answer that is not among `answers`, repeated answers, a template without
            [X] or [Y], a text in two splits, or another word for `multi_token`.
    """

    name: str
    answers: tuple[str, ...]
    splits: Mapping[str, tuple[Item, ...]]
    template: str
    label: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    multi_token: str = "drop"

    def __post_init__(self) -> None:
        require(
            set(self.splits) == set(SPLITS), f"{self.name}.splits", sorted(self.splits), ", ".join(SPLITS)
        )
        repeated = sorted(word for word, count in Counter(self.answers).items() if count > 1)
        require(not repeated, f"{self.name}.answers", repeated[:5], "every word once")
        check_template(self.name, self.template)
        known_ways = f"one of {', '.join(MULTI_TOKEN)}"
        require(self.multi_token in MULTI_TOKEN, "dataset.multi_token", self.multi_token, known_ways)
        if not self.splits["test"]:
            left_out = (
                ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "none left out"
            )
            raise UsageError(f"{self.name} has no test items ({left_out}): check its data, or drop it")
        known = set(self.answers)
        strange = sorted({word for items in self.splits.values() for i in items for word in i.right} - known)
        require(not strange, f"{self.name}: answers of items", strange[:5], "one of the task's answers")
        owners = Counter(text for items in self.splits.values() for text in {item.text for item in items})
        twice = sorted(text for text, count in owners.items() if count > 1)
        require(not twice, f"{self.name}: texts in two splits", twice[:5], "in one split only")

    @property
    def digest(self) -> str:
        """sha256 (hex) of what decides a result: items, answers, template, and what is done with several tokens."""
        content: dict[str, object] = {
            "answers": self.answers,
            "template": self.template,
            "splits": {split: [(i.text, *i.right) for i in self.splits[split]] for split in SPLITS},
        }
        if self.multi_token != "drop":
            content["multi_token"] = self.multi_token
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def only(self, answers: Iterable[str], reason: str) -> "PromptTask":
        """The task with these answers alone; items that have none of them are counted under `reason`.

        Raises:
            UsageError: no test item is left.
        """
        wanted = set(answers)
        kept = {
            split: tuple(one for item in items if (one := item.only(wanted)) is not None)
            for split, items in self.splits.items()
        }
        lost = sum(map(len, self.splits.values())) - sum(map(len, kept.values()))
        dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + lost}
        left = tuple(word for word in self.answers if word in wanted)
        return replace(self, answers=left, splits=kept, dropped=dropped)


def check_template(name: str, template: str) -> None:
    """Check that [X] and [Y] stand in the template once each.

    Raises:
        UsageError: they do not; names the task `name`.
    """
    once = all(template.count(mark) == 1 for mark in (SUBJECT, ANSWER))
    require(once, f"{name}.template", template, f"a text with {SUBJECT} and {ANSWER}, once each")


def split_by_text(
    items: Sequence[Item], fractions: Mapping[str, float], seed: int
) -> dict[str, tuple[Item, ...]]:
    """Items to train, dev and test, all items of one text to the same split.

    A text's place is its hash with the seed: it does not depend on the other texts, so that a country is in
    the same split of every relation. The fractions are those of the hash's range; they sum to one.

    Raises:
        UsageError: fractions that are negative or do not sum to one.
    """
    shares = check_fractions(fractions)
    result: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for item in items:
        place = _place(item.text, seed)
        split = "train" if place < shares[0] else "dev" if place < shares[0] + shares[1] else "test"
        result[split].append(item)
    return {split: tuple(chosen) for split, chosen in result.items()}


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """The items in an order that depends on the seed and on each item alone."""
    return sorted(items, key=lambda item: (_place(item.text, seed), item.text, item.answer))


def check_fractions(fractions: Mapping[str, float]) -> list[float]:
    """The shares of train, dev and test.

    Raises:
        UsageError: fractions that are negative or do not sum to one.
    """
    shares = [fractions.get(split, 0.0) for split in SPLITS]
    valid = set(fractions) <= set(SPLITS) and min(shares) >= 0 and abs(sum(shares) - 1) < 1e-9
    require(valid, "dataset.fractions", dict(fractions), "train, dev and test, none negative, sum 1")
    return shares


def _place(text: str, seed: int) -> float:
    """A number in [0, 1) for a text."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{text}".encode()).digest()[:8], "big") / 2**64
