"""Anchors: the words that are one token in every model involved (PTfer, section 2.2 and A.1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fuse_repro.adapters.learnt_tokens import well_trained
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel

SELECTIONS = ("all", "frequent", "random")


@dataclass(frozen=True)
class Anchors:
    """K words and the token that stands for each of them in every model.

    Attributes:
        words: the K surface words, without the space before them.
        ids: one [K] tensor of token ids per model, in the order in which the models were given; on the CPU.
    """

    words: tuple[str, ...]
    ids: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def source_ids(self) -> Tensor:
        """[K] token ids in the first model."""
        return self.ids[0]

    @property
    def target_ids(self) -> Tensor:
        """[K] token ids in the last model."""
        return self.ids[-1]

    def take(self, places: Sequence[int]) -> Anchors:
        """The anchors at these places, in that order."""
        chosen = torch.tensor(places, dtype=torch.long)
        return Anchors(tuple(self.words[place] for place in places), tuple(ids[chosen] for ids in self.ids))

    def hold_out(self, count: int, seed: int) -> tuple[Anchors, Anchors]:
        """Two disjoint sets, the second of `count` anchors drawn with `seed`; both keep the order."""
        held = set(_draw(len(self), count, seed))
        rest = [place for place in range(len(self)) if place not in held]
        return self.take(rest), self.take(sorted(held))

    def embeddings(self, models: Sequence[FrozenModel]) -> list[Tensor]:
        """The anchors' embeddings [K, d] in each of the models, as the model receives them."""
        with torch.no_grad():
            return [model.embed(ids.to(model.device)) for model, ids in zip(models, self.ids, strict=True)]


@dataclass(frozen=True)
class AnchorSettings:
    """Which shared words a map is fitted from.

    Attributes:
        anchors: how many; null is every shared word.
        anchor_selection: "all" (in alphabetical order), "frequent" (wordfreq's order) or "random" (with
            `seed`).
        exclude: words that must not be anchors, such as the answers of a task; in any capitalisation.
        seed: of the random choice.
        trained_only: leave out words whose token some model has hardly learnt, see `well_trained`.
    """

    anchors: int | None = None
    anchor_selection: str = "all"
    exclude: Collection[str] = ()
    seed: int = 0
    trained_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "exclude", tuple(self.exclude))
        _check_selection(self.anchor_selection, self.anchors)

    def choose(self, models: Sequence[FrozenModel], given: Anchors | None = None) -> Anchors:
        """The anchors of these models, see `shared_anchors`; or those `given`, where there are any."""
        if given is not None:
            return given
        return shared_anchors(
            models, self.anchors, self.anchor_selection, self.seed, self.exclude, self.trained_only
        )


def shared_anchors(
    models: Sequence[FrozenModel],
    count: int | None = None,
    selection: str = "all",
    seed: int = 0,
    exclude: Collection[str] = (),
    trained_only: bool = False,
) -> Anchors:
    """The words that every model writes as one token where they follow a space in running text.

    Words are compared by their spelling, not by the tokenizer's marks: "Ġdog" (byte-level BPE), "▁dog"
    (SentencePiece), "dog" (WordPiece, but not "##dog") and "dog</w>" (CLIP) are one anchor. Special tokens
    are no anchors. The result depends on neither the order of the models nor the hash seed of the process.

    Args:
        models: at least two.
        count: how many anchors; None for all.
        selection: which ones, see `AnchorSettings.anchor_selection`.
        seed: of a random selection.
        exclude: words that must not be anchors, in any capitalisation.
        trained_only: leave out words whose token some model has hardly learnt, see `well_trained`.

    Raises:
        UsageError: fewer than two models, no shared word, more anchors asked for than there are, an unknown
            selection, or a selection that does not go with the count.
    """
    _check_selection(selection, count)
    require(len(models) >= 2, "models", [model.name for model in models], "at least two to share anchors")
    names = ", ".join(model.name for model in models)
    shared = _shared_words(frozenset(model.tokenizer for model in models))
    tables = [shared[model.tokenizer] for model in models]
    left_out = {part.casefold() for word in exclude for part in word.split()}
    words = sorted(word for word in tables[0] if word.casefold() not in left_out)
    if trained_only and words:
        words = _learnt(words, models, tables)
    if not words:
        raise UsageError(
            f"{names} share no anchors: no word is one token in all of them"
            + (f" (with {len(left_out)} words excluded)" if left_out else "")
            + "; choose models of the same language, or a map that needs no anchors"
        )
    require(
        count is None or count <= len(words),
        "adapter.anchors",
        count,
        f"{names} share {len(words)} words; give at most that, or null for all",
    )
    chosen = _select(words, count, selection, seed)
    return Anchors(tuple(chosen), tuple(torch.tensor([table[word] for word in chosen]) for table in tables))


def _check_selection(selection: str, count: int | None) -> None:
    require(selection in SELECTIONS, "adapter.anchor_selection", selection, f"one of {', '.join(SELECTIONS)}")
    require(
        count is None or count >= 1, "adapter.anchors", count, "a whole number from 1 on, or null for all"
    )
    require(
        count is None or selection != "all",
        "adapter.anchors",
        count,
        "null with anchor_selection=all; choose frequent or random to take some of them",
    )


def _learnt(words: list[str], models: Sequence[FrozenModel], tables: Sequence[dict[str, int]]) -> list[str]:
    """Those of the words whose tokens all models have learnt."""
    kept = torch.ones(len(words), dtype=torch.bool)
    for model, table in zip(models, tables, strict=True):
        kept &= well_trained(model, torch.tensor([table[word] for word in words]))
    return [word for word, keep in zip(words, kept.tolist(), strict=True) if keep]


@lru_cache(maxsize=4)
def _shared_words(tokenizers: frozenset[WordTokenizer]) -> dict[WordTokenizer, dict[str, int]]:
    """The words that are one token for all tokenizers: word -> its token id, for every tokenizer.

    It reads whole vocabularies, which takes seconds, and several maps of one run ask for the same; so the
    last ones are kept. Nobody changes what it returns.
    """
    candidates = sorted(set.intersection(*(_spellings(tokenizer) for tokenizer in tokenizers)))
    tables = {tokenizer: _single_tokens(tokenizer, candidates) for tokenizer in tokenizers}
    shared = set.intersection(*(set(table) for table in tables.values()))
    return {
        tokenizer: {word: table[word] for word in candidates if word in shared}
        for tokenizer, table in tables.items()
    }


def _spellings(tokenizer: WordTokenizer) -> set[str]:
    """How the tokens that are not special look in text, where that is one whole word."""
    ids = [index for index in range(tokenizer.vocab_size) if index not in tokenizer.special_ids]
    texts = (text.strip() for text in tokenizer.decode([[index] for index in ids]))
    return {text for text in texts if text.split() == [text] and "\ufffd" not in text}


def _single_tokens(tokenizer: WordTokenizer, words: Sequence[str]) -> dict[str, int]:
    """The words that are one token after a space and are spelled by that token: word -> token id.

    The spelling rules out what a normaliser merges: an uncased model's "dog" is no "Dog".
    """
    single = {
        word: ids[0]
        for word, ids in zip(words, tokenizer.word_ids(words), strict=True)
        if len(ids) == 1 and ids[0] not in tokenizer.special_ids
    }
    spelled = tokenizer.decode([[index] for index in single.values()])
    pairs = zip(single.items(), spelled, strict=True)
    return {word: index for (word, index), text in pairs if text.strip() == word}


def _select(words: list[str], count: int | None, selection: str, seed: int) -> list[str]:
    """The chosen ones of the alphabetically sorted `words`."""
    count = len(words) if count is None else count
    if selection == "random":
        return [words[place] for place in _draw(len(words), count, seed)]
    if selection == "frequent":
        words = _by_frequency(words)
    return words[:count]


def _by_frequency(words: list[str]) -> list[str]:
    """Most frequent first; wordfreq has no case, so other capitalisations of a word come after all words."""
    import wordfreq

    frequency = wordfreq.get_frequency_dict("en")
    ranked = sorted(words, key=lambda word: (-frequency.get(word.lower(), 0.0), word != word.lower(), word))
    firsts = {word.lower(): word for word in reversed(ranked)}
    return sorted(ranked, key=lambda word: firsts[word.lower()] != word)


def _draw(size: int, count: int, seed: int) -> list[int]:
    """`count` places of `size`, without replacement, in order."""
    generator = torch.Generator().manual_seed(seed)
    return sorted(torch.randperm(size, generator=generator)[:count].tolist())
