"""Which tokens a search may write: settings shared by all optimizers, and what they leave of a vocabulary."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from string import punctuation

import torch
from torch import Tensor

from fuse_repro.alignment.token_pieces import starts_word, token_texts
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError, require
from fuse_repro.search.problem import PromptProblem

Prompt = tuple[int, ...]
NAME = "constraints"
SHOWN = 5  # words that a message names
LIST = "a list of single words or marks such as [dog,snow]"


@dataclass(frozen=True)
class Constraints:
    """What may stand in a prompt behind its prefix.

    A token's word is what it adds to a text, without the space in front; upper and lower case are the same. A token
    without a letter or digit is a mark.

    Attributes:
        printable_ascii: only tokens of the characters from space to ~.
        allowed: only these words and marks, each of them one token of the language model; None for all.
        forbidden: none of these words and marks; a word also where several tokens write it.
        whole_words: no token goes on with a word, so that every word is one token; marks may stand.
        repeats: whether a word may come twice; marks always may.

    Raises:
        UsageError: a list that cannot be used.
    """

    printable_ascii: bool = False
    allowed: Sequence[str] | None = None
    forbidden: Sequence[str] = ()
    whole_words: bool = False
    repeats: bool = True

    def __post_init__(self) -> None:
        good = self.allowed is None or (_are_words(self.allowed) and len(self.allowed) > 0)
        require(good, f"{NAME}.allowed", self.allowed, f"{LIST}, or null for all")
        require(_are_words(self.forbidden), f"{NAME}.forbidden", self.forbidden, f"{LIST}, or [] for none")

    def of(self, problem: PromptProblem, tokens: int) -> "Permitted":
        """What they leave of the language model's vocabulary.

        Args:
            problem: gives the language model and the prefix.
            tokens: how many a prompt has behind the prefix.

        Raises:
            UsageError: too few tokens are left, or an allowed word is not one token.
        """
        tokenizer = problem.lm.tokenizer
        forbidden = frozenset(_folded(word) for word in self.forbidden)
        good = [token not in tokenizer.special_ids for token in range(tokenizer.vocab_size)]
        for rule in self._rules(problem, forbidden):
            good = [old and new for old, new in zip(good, rule, strict=True)]
        permitted = Permitted(problem, good, forbidden, self.repeats)
        permitted.check(tokens)
        return permitted

    def _rules(self, problem: PromptProblem, forbidden: frozenset[str]) -> Iterator[Iterable[bool]]:
        """Of every setting that is on: whether it takes each of V tokens."""
        tokenizer = problem.lm.tokenizer
        if self.printable_ascii:
            yield (text.isascii() and text.isprintable() for text in _texts(tokenizer))
        if self.whole_words:
            pairs = zip(_texts(tokenizer), _words(tokenizer), strict=True)
            yield (starts_word(text) or is_mark(word) for text, word in pairs)
        if self.allowed is not None:
            listed = {_folded(word) for word in self.allowed}
            missing = sorted(listed - set(_words(tokenizer)))
            if missing:
                raise UsageError(
                    f"optimizer.{NAME}.allowed has words that are not one token of {problem.lm.name}: "
                    f"{', '.join(missing[:SHOWN])} ({len(missing)} in all); leave them out"
                )
            yield (word in listed for word in _words(tokenizer))
        if forbidden:
            yield (word not in forbidden for word in _words(tokenizer))


class Permitted:
    """What `Constraints` leave of a vocabulary of V tokens.

    Args:
        problem: gives the language model and the prefix.
        good: [V], whether a token may be written at all.
        forbidden: words, in lower case, that may not stand behind the prefix.
        repeats: whether a word may come twice.
    """

    def __init__(
        self, problem: PromptProblem, good: Sequence[bool], forbidden: frozenset[str], repeats: bool
    ) -> None:
        self._good = good
        self._bad = torch.tensor([not one for one in good])
        self._forbidden = forbidden
        self._repeats = repeats
        self.tokenizer = problem.lm.tokenizer
        self._prefix, self.begin = problem.prefix, len(problem.prefix_ids())
        special = problem.lm.tokenizer.special_ids
        self._free = sum(good) == len(good) - len(special) and not forbidden and repeats

    @cached_property
    def tokens(self) -> list[int]:
        """Those that may be written."""
        return [token for token, good in enumerate(self._good) if good]

    def check(self, tokens: int) -> None:
        """Raise UsageError where no prompt of so many tokens behind its prefix can be written."""
        if self._free:
            return
        own = {self.words[token] for token in self.tokens}
        needed = 1 if self._repeats or any(map(is_mark, own)) else tokens
        if len(own) < needed:
            raise UsageError(
                f"optimizer.{NAME} leave {len(own)} different words, where a prompt needs {needed}: "
                "allow more words, lift one of them, or make prompts shorter"
            )

    def masked(self, scores: Tensor, prompts: Sequence[Prompt] = ()) -> Tensor:
        """Scores [B, V], higher is better, of what may follow B prompts: -inf for tokens that may not.

        Special tokens are left to `propose` where nothing else is ruled out.
        """
        if self._free:
            return scores
        scores = scores.masked_fill(self._on(scores.device), -torch.inf)
        for row, prompt in enumerate(() if self._repeats else prompts):
            used = {self.words[token] for token in prompt[self.begin :]}
            again = [token for word in used if not is_mark(word) for token in _writing(self.tokenizer)[word]]
            scores[row, again] = -torch.inf
        return scores

    def best(self, scores: Tensor, count: int) -> Tensor:
        """The tokens of least score in every row that may be written: [n, V] -> [n, count], or fewer."""
        count = min(count, len(self.tokens))
        return (-scores).masked_fill(self._on(scores.device), -torch.inf).topk(count).indices.cpu()

    def _on(self, device: torch.device) -> Tensor:
        """Which tokens may not be written, [V], on a device; copied there once."""
        self._bad = self._bad.to(device)
        return self._bad

    def kept(self, prompts: Iterable[tuple[Prompt, str]]) -> list[tuple[Prompt, str]]:
        """Those of these prompts, each with its text, that may be written."""
        return [(ids, text) for ids, text in prompts if self.keeps(ids, text)]

    def keeps(self, prompt: Prompt, text: str) -> bool:
        """Whether a prompt with this text may be written; the prefix is not asked."""
        if self._free:
            return True
        own = prompt[self.begin :]
        words = [word for word in (self.words[token] for token in own) if not is_mark(word)]
        once = self._repeats or len(set(words)) == len(words)
        return (
            once
            and all(self._good[token] for token in own)
            and not self._forbidden & _read(text, self._prefix)
        )

    @property
    def words(self) -> Sequence[str]:
        """What each of V tokens adds to a text, in lower case and without the space in front."""
        return _words(self.tokenizer)


def is_mark(word: str) -> bool:
    """Whether a token's word has no letter and no digit."""
    return not any(map(str.isalnum, word))


def _read(text: str, prefix: str) -> frozenset[str]:
    """The words behind the prefix, with and without the marks inside of them."""
    behind = text[len(prefix) :].casefold()
    return frozenset([*re.findall(r"\w+", behind), *(word.strip(punctuation) for word in behind.split())])


def _folded(word: str) -> str:
    return word.strip().casefold()


def _are_words(given: Sequence[str]) -> bool:
    """Whether it is a list of texts without spaces inside."""
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    return listed and all(isinstance(word, str) and len(word.split()) == 1 for word in given)


@lru_cache(maxsize=4)
def _texts(tokenizer: WordTokenizer) -> Sequence[str]:
    """What each of V tokens adds to a text."""
    return token_texts(tokenizer, range(tokenizer.vocab_size))


@lru_cache(maxsize=4)
def _words(tokenizer: WordTokenizer) -> Sequence[str]:
    """The word of each of V tokens, in lower case."""
    return [_folded(text) for text in _texts(tokenizer)]


@lru_cache(maxsize=4)
def _writing(tokenizer: WordTokenizer) -> dict[str, list[int]]:
    """The tokens of every word."""
    found: dict[str, list[int]] = {}
    for token, word in enumerate(_words(tokenizer)):
        found.setdefault(word, []).append(token)
    return found
