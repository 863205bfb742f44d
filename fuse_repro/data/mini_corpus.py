"""Text for mini language models: sentences that state the built-in facts in many ways, and any real text.

Every fact of the chosen relations is stated, whatever split of the prompting task it is in: the facts are
what the model knows, and a prompt only asks for it.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from fuse_repro.data.corpora import WordfreqCorpus
from fuse_repro.data.facts import RELATIONS, GeographyFacts
from fuse_repro.data.prompt_task import ANSWER, SUBJECT, PromptTask
from fuse_repro.errors import UsageError, require
from fuse_repro.storage.reading import read_text

NAMES = {
    "P36": ("capital", "capital city", "seat of government"),
    "P30": ("continent", "part of the world"),
    "P38": ("currency", "money", "legal tender"),
    "P37": ("official language", "language", "main language"),
    "P17": ("country", "nation", "state"),
}
FRAMES = (
    "The [N] of [X] is [Y] .",
    "The [N] of [X] is called [Y] .",
    "[Y] is the [N] of [X] .",
    "[X] has the [N] [Y] .",
    "[X] and its [N] , [Y] .",
    "[X] , [N] : [Y] .",
    "[X] [N] [Y] .",
    "Of [X] we know that the [N] is [Y] .",
)
SENTENCES = {
    "P36": ("[X] is governed from [Y] .", "The government of [X] sits in [Y] ."),
    "P30": ("[X] is located in the continent of [Y] .", "[X] lies on the continent [Y] ."),
    "P38": ("People in [X] pay with the [Y] .", "Prices in [X] are given in [Y] ."),
    "P37": ("People in [X] speak [Y] .", "Most books in [X] are written in [Y] ."),
    "P17": ("[X] is a city in the country of [Y] .", "[X] is a city in [Y] ."),
}
NAME = "[N]"
LOOSE = 6  # loose statements of each fact: its subject, its relation among up to three words, its answer
WORDS_OF_TEXT = 16


@dataclass(frozen=True)
class Statement:
    """A sentence in three parts.

    Attributes:
        before: the text before the answer.
        answer: what a masked model learns to fill in; "" in running text.
        after: the text behind the answer.
    """

    before: str
    answer: str
    after: str

    @property
    def text(self) -> str:
        """The whole sentence."""
        return " ".join(part for part in (self.before, self.answer, self.after) if part)


class MiniCorpus:
    """Statements of facts of GeoNames, and running text.

    Args:
        relations: of `fuse_repro.data.facts.RELATIONS`.
        cities: how many of the most populous cities are used.
        fillers: loose statements draw on so many of the most frequent English words.
        text: UTF-8 text files; cut into pieces of `WORDS_OF_TEXT` words. "<unk>" is left out.
        seed: of the choice of words in loose statements.

    Raises:
        UsageError: an unknown relation, or a file that cannot be read.
    """

    def __init__(
        self,
        relations: Sequence[str] = tuple(RELATIONS),
        cities: int = 600,
        fillers: int = 1500,
        text: Sequence[str | Path] = (),
        seed: int = 0,
    ) -> None:
        self._facts = _facts(tuple(relations), cities)
        require(not isinstance(text, str), "corpus.text", text, "a list of text files")
        self._fillers = WordfreqCorpus(size=fillers, cased=False).words()
        self.paths, self.seed = tuple(Path(path) for path in text), seed

    def answers(self) -> tuple[str, ...]:
        """The words that answer a fact, sorted; answers of several words are left out."""
        found = {answer for task in self._facts for answer in task.answers}
        return tuple(sorted(answer for answer in found if len(answer.split()) == 1))

    def statements(self) -> tuple[Statement, ...]:
        """All statements, then the running text; the same in every process."""
        draw = random.Random(self.seed)
        stated = (
            _fill(template, item.text, item.answer)
            for task in self._facts
            for items in task.splits.values()
            for item in items
            for template in self._templates(task.name, draw)
        )
        return (*stated, *self._running_text())

    def _templates(self, relation: str, draw: random.Random) -> Iterator[str]:
        """Ways to state one fact of a relation."""
        for frame in FRAMES:
            yield frame.replace(NAME, draw.choice(NAMES[relation]))
        yield from SENTENCES[relation]
        for _ in range(LOOSE):
            words = draw.sample(self._fillers, draw.randrange(4))
            words.insert(draw.randrange(len(words) + 1), draw.choice(NAMES[relation]))
            yield f"{SUBJECT} {' '.join(words)} {ANSWER} ."

    def _running_text(self) -> Iterator[Statement]:
        for path in self.paths:
            text = read_text(path, partial(_unreadable, path))
            for line in text.split("\n"):
                words = [word for word in line.split() if word != "<unk>"]
                for begin in range(0, len(words), WORDS_OF_TEXT):
                    yield Statement(" ".join(words[begin : begin + WORDS_OF_TEXT]), "", "")


@lru_cache
def _facts(relations: tuple[str, ...], cities: int) -> tuple[PromptTask, ...]:
    """The tasks of these relations; several models read the same facts, and loading them takes seconds."""
    return GeographyFacts(relations, cities=cities).tasks()


def digest(statements: Sequence[Statement]) -> str:
    """sha256 (hex) of all statements in their order."""
    text = "\n".join(f"{one.before}\t{one.answer}\t{one.after}" for one in statements)
    return hashlib.sha256(text.encode()).hexdigest()


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"corpus.text={str(path)!r} cannot be read ({why}): give UTF-8 text")


def _fill(template: str, subject: str, answer: str) -> Statement:
    before, after = template.split(ANSWER)
    return Statement(
        before.replace(SUBJECT, subject).strip(), answer, after.replace(SUBJECT, subject).strip()
    )
