"""Which tokens of two tokenizers spell the same whitespace-separated words (FUSE, section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fuse_repro.alignment.words import Tokenized, WordTokenizer
from fuse_repro.errors import UsageError


class WordPair(NamedTuple):
    """One word of one text, as tokens of both models.

    Attributes:
        row: the place of the text in its batch.
        source_start: first of the word's content tokens in the source model.
        source_stop: the place behind the last of them.
        target_start: first of the word's content tokens in the target model.
        target_stop: the place behind the last of them.
    """

    row: int
    source_start: int
    source_stop: int
    target_start: int
    target_stop: int

    @property
    def source_count(self) -> int:
        return self.source_stop - self.source_start

    @property
    def target_count(self) -> int:
        return self.target_stop - self.target_start


@dataclass(frozen=True)
class Fill:
    """Embeddings that stand in for the target's own at some tokens of an alignment, where no text is meant.

    Attributes:
        rows: [n], the texts of those tokens.
        places: [n], their places in `target_ids`.
        vectors: [n, d_t].
    """

    rows: Tensor
    places: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class Alignment:
    """A batch of B texts in two tokenizers.

    Attributes:
        target_ids: [B, S_t] content tokens of the target model, right-padded with 0.
        target_mask: [B, S_t] bool, true where a token is real.
        source_length: S_s, tokens of the longest text in the source model.
        words: every word of every text that has tokens on both sides.
        fill: what the target reads in place of some of its tokens.
        point: the source's embeddings of the texts, [B, S_s, d_s], where a map that is not linear is linearised;
            None where only the words are known.
    """

    target_ids: Tensor
    target_mask: Tensor
    source_length: int
    words: tuple[WordPair, ...]
    fill: Fill | None = None
    point: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.target_ids.shape[0]

    def words_at(self, position: int) -> list[WordPair | None]:
        """The word of every row that holds source token `position`; None where it has no target token."""
        found: list[WordPair | None] = [None] * self.rows
        for word in self.words_of([position]):
            found[word.row] = word
        return found

    def words_of(self, positions: Sequence[int]) -> list[WordPair]:
        """The words of all rows that hold any of the source tokens `positions`."""
        wanted = set(positions)
        return [
            word for word in self.words if not wanted.isdisjoint(range(word.source_start, word.source_stop))
        ]


def pad_ids(sequences: Sequence[Sequence[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Right-pad id sequences with 0: ids [B, S] and mask [B, S] (bool)."""
    longest = max((len(sequence) for sequence in sequences), default=0)
    padded = [[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences]
    ids = torch.tensor(padded, dtype=torch.long).view(len(sequences), longest).to(device)
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long).to(device)
    return ids, torch.arange(longest, device=device) < lengths.unsqueeze(1)


def align(
    source: Sequence[Tokenized], target: Sequence[Tokenized], device: torch.device | str = "cpu"
) -> Alignment:
    """Pair the words of the same texts in two tokenizers, by position.

    Args:
        source: B texts as the source model's tokens.
        target: the same texts as the target model's tokens.
        device: of the ids and the mask.

    Raises:
        UsageError: a pair of texts that does not have as many words on both sides.
    """
    pairs = []
    for row, (s_text, t_text) in enumerate(zip(source, target, strict=True)):
        if len(s_text.words) != len(t_text.words):
            raise UsageError(
                f"text {row} has {len(s_text.words)} words in the source ({' '.join(s_text.words)!r}) but "
                f"{len(t_text.words)} in the target ({' '.join(t_text.words)!r}): tokenise both from one text"
            )
        for (s_start, s_stop), (t_start, t_stop) in zip(s_text.spans, t_text.spans, strict=True):
            if s_stop > s_start and t_stop > t_start:
                pairs.append(WordPair(row, s_start, s_stop, t_start, t_stop))
    ids, mask = pad_ids([text.ids for text in target], device)
    return Alignment(ids, mask, max((len(text.ids) for text in source), default=0), tuple(pairs))


def token_alignment(texts: Sequence[Tokenized], device: torch.device | str = "cpu") -> Alignment:
    """The shared-tokenizer case (FUSE, section 3.2): every token stands for itself."""
    pairs = [
        WordPair(row, i, i + 1, i, i + 1) for row, text in enumerate(texts) for i in range(len(text.ids))
    ]
    ids, mask = pad_ids([text.ids for text in texts], device)
    return Alignment(ids, mask, ids.shape[1], tuple(pairs))


def same_tokenizer(source: WordTokenizer, target: WordTokenizer) -> bool:
    """Whether every text has the same tokens in both."""
    return source.fingerprint == target.fingerprint
