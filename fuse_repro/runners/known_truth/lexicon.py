"""What two made-up models have read, and the words on which the relation between them is known."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import NamedTuple

from fuse_repro.alignment.token_pieces import token_pieces
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError
from fuse_repro.runners.known_truth.tokenizers import train_tokenizer

Class = tuple[int, int]  # a word's tokens in the source and in the target
LETTERS = range(2, 9)  # of a word
OWN = 10  # words that only the source has read, for each that both have; they give it many pieces
MARGIN = (
    6  # words of a class beyond the source's embedding size, so that a map for it can be told from its words
)


class Known(NamedTuple):
    """A word, or a token taken as one, on which the relation holds.

    Attributes:
        word: its spelling; "" for a token.
        source: its s tokens in the source.
        target: its t tokens in the target.
        fresh: place in `source` of a token that no word before this one has, and this one has once.
    """

    word: str
    source: tuple[int, ...]
    target: tuple[int, ...]
    fresh: int


@dataclass(frozen=True)
class Lexicon:
    """Two tokenizers, and the words of every class.

    Attributes:
        source: the source's tokenizer.
        target: the target's.
        classes: class -> its words.
        order: all of them, and tokens, in the order in which `fresh` is meant.
        seen: class -> how many words of the corpus have so many tokens.
    """

    source: WordTokenizer
    target: WordTokenizer
    classes: dict[Class, list[Known]]
    order: list[Known]
    seen: Mapping[Class, int]

    def check_lengths(self, lengths: Sequence[int]) -> None:
        """Raises UsageError for a number of target tokens that no word has, or none that could be taken."""
        for length in lengths:
            if any(key[1] == length for key in self.classes):
                continue
            has = [t for _, t in self.seen]
            counts = {f"{s}x{t}": count for (s, t), count in sorted(self.seen.items()) if t == length}
            found = (
                f"only these have, by source x target tokens: {counts}"
                if counts
                else f"words have {min(has)} to {max(has)}"
            )
            raise UsageError(
                f"runner.lengths={list(lengths)}: too few words of the corpus are common to both models that have "
                f"{length} tokens in the target ({found}): leave {length} out, or take another tokenizer or a larger "
                "corpus"
            )

    def words(self, most: int) -> dict[Class, list[str]]:
        """At most so many words of every class."""
        return {key: [known.word for known in words[:most]] for key, words in self.classes.items()}


@dataclass(frozen=True)
class Reading:
    """Who has read what, and which words are taken.

    Attributes:
        tokenizers: kinds of the source's and the target's.
        words: of a class, at most; as many words both models have read, at full overlap.
        overlap: share of those that the target has read, too; it has read others instead.
        lengths: target tokens per word.
        source_size: d_s; a class other than the words of one token has to have a few words more.
        coarser: whether words of more source than target tokens are taken.
        every_token: whether the relation is to hold for every token of the source; then only words of one source
            token are taken.
        seed: of who has read what.
    """

    tokenizers: tuple[str, str]
    words: int
    overlap: float
    lengths: Sequence[int]
    source_size: int
    coarser: bool
    every_token: bool
    seed: int


def read(corpus: Sequence[str], reading: Reading) -> Lexicon:
    """Train both tokenizers and choose words.

    Words come from the corpus in random order, one of every class in turn, as long as they have a token of the source
    that no word before them has.

    Raises:
        UsageError: a corpus of too few words.
    """
    pool = [
        word
        for word in corpus
        if word.isascii() and word.isalpha() and word.islower() and len(word) in LETTERS
    ]
    random.Random(reading.seed).shuffle(pool)
    count = reading.words
    needed = (3 + 2 * OWN) * count
    if len(pool) < needed:
        raise UsageError(
            f"corpus: {len(pool)} different words of {LETTERS[0]} to {LETTERS[-1]} letters a to z, and "
            f"runner.base.words={count} needs {needed}: take a larger corpus or fewer words"
        )
    common, others = pool[:count], pool[count : 2 * count]
    own, foreign = pool[2 * count : (2 + OWN) * count], pool[(2 + OWN) * count : (2 + 2 * OWN) * count]
    shared = round(reading.overlap * count)
    kinds = reading.tokenizers
    source = train_tokenizer(kinds[0], [*common, *own])
    heard = foreign if reading.coarser else []
    target = train_tokenizer(kinds[1], [*common[:shared], *others[: count - shared], *heard])
    ids = list(zip(pool, source.word_ids(pool), target.word_ids(pool), strict=True))
    seen = Counter((len(s_ids), len(t_ids)) for _, s_ids, t_ids in ids)
    found = _by_class([Known(*one, 0) for one in ids], set(common[:shared]), reading)
    tokens = _tokens(source, target) if reading.every_token else []
    classes, order = _fresh(found, reading, tokens)
    fewest = reading.source_size + MARGIN
    kept = {
        key: words
        for key, words in sorted(classes.items())
        if words and (key == (1, 1) or len(words) >= fewest)
    }
    return Lexicon(source, target, kept, order, seen)


def _by_class(pool: Sequence[Known], shared: set[str], reading: Reading) -> dict[Class, list[Known]]:
    """The words that may be taken. One token on both sides only those have that both have read."""
    found: dict[Class, list[Known]] = defaultdict(list)
    for known in pool:
        s, t = len(known.source), len(known.target)
        fits = s <= t or (reading.coarser and s <= max(reading.lengths))
        whole = s == 1 or not reading.every_token
        if t in reading.lengths and fits and whole and ((s, t) != (1, 1) or known.word in shared):
            found[s, t].append(known)
    return found


def _tokens(source: WordTokenizer, target: WordTokenizer) -> list[Known]:
    """Every token of the source with what the target writes for it."""
    ids = [token for token in range(source.vocab_size) if token not in source.special_ids]
    pieces = token_pieces(source, target, ids)
    return [Known("", (token,), piece, 0) for token, piece in zip(ids, pieces, strict=True) if piece]


def _fresh(
    found: dict[Class, list[Known]], reading: Reading, tokens: Sequence[Known]
) -> tuple[dict[Class, list[Known]], list[Known]]:
    """Words with a token that none before them has, and the order they were taken in.

    Words of one token on both sides come first, so that no other takes their token; then one of every class in turn.
    """
    classes: dict[Class, list[Known]] = defaultdict(list)
    if reading.every_token:
        return {key: words[: reading.words] for key, words in found.items()}, list(tokens)
    used: set[int] = set()
    order = []
    turns = zip_longest(*(found[key] for key in sorted(found) if key != (1, 1)))
    for turn in chain(([known] for known in found[1, 1]), turns):
        for known in turn:
            if known is None or len(classes[key := (len(known.source), len(known.target))]) >= reading.words:
                continue
            new = [
                place
                for place, token in enumerate(known.source)
                if token not in used and known.source.count(token) == 1
            ]
            if new:
                known = known._replace(fresh=new[0])
                used.update(known.source)
                classes[key].append(known)
                order.append(known)
    return classes, order
