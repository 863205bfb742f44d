"""Two made-up models and the known relation between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.runners.known_truth.lexicon import Lexicon, Reading, read
from fuse_repro.runners.known_truth.relations import MATRICES, RELATIONS, Relation, known_matrix
from fuse_repro.runners.known_truth.tables import related_tables

WIDEST = 4096  # embedding size


@dataclass(frozen=True)
class Truth:
    """A kind of pair; an entry of runner.truths.

    Attributes:
        relation: what holds between the two tables, one of RELATIONS.
        matrix: the map of words of one token, "rotation" or "general".
        source_size: d_s.
        target_size: d_t.
        every_token: whether the relation holds for every token of the source, not only for words.
        coarser: whether words of more source than target tokens are there, too.
    """

    relation: str
    matrix: str
    source_size: int
    target_size: int
    every_token: bool = False
    coarser: bool = False

    def __post_init__(self) -> None:
        require(self.relation in RELATIONS, "relation", self.relation, f"one of {', '.join(RELATIONS)}")
        for name in ("source_size", "target_size"):
            value = getattr(self, name)
            require(1 <= value <= WIDEST, name, value, f"a whole number from 1 to {WIDEST}")
        require(self.matrix in MATRICES, "matrix", self.matrix, f"one of {', '.join(MATRICES)}")
        narrower = (
            f"at most source_size={self.source_size}: a token of the source holds what its target tokens say"
        )
        require(self.target_size <= self.source_size, "target_size", self.target_size, narrower)


@dataclass(frozen=True)
class Pair:
    """Two models, the words that they share, and what is known.

    Attributes:
        source: d_s wide, float64.
        target: d_t wide, float64; its table satisfies the relation but for the noise.
        lexicon: both tokenizers, and the words.
        relation: what holds.
    """

    source: FrozenModel
    target: FrozenModel
    lexicon: Lexicon
    relation: Relation


def make_pair(
    truth: Truth,
    corpus: Sequence[str],
    *,
    tokenizers: tuple[str, str],
    words: int,
    overlap: float,
    lengths: Sequence[int],
    noise: float,
    seed: int,
) -> Pair:
    """A pair of models.

    Args:
        truth: what is known of it.
        corpus: words that models may have read.
        tokenizers: kinds of the source's and the target's.
        words: of every class of words, at most.
        overlap: share of the words that the target has read, too.
        lengths: target tokens per word.
        noise: standard deviation of what is added to the target's table, whose own values have 1.
        seed: of everything random.

    Raises:
        UsageError: sizes that the relation cannot hold with, and a corpus without the words.
    """
    reading = Reading(
        tokenizers,
        words,
        overlap,
        tuple(lengths),
        truth.source_size,
        truth.coarser,
        truth.every_token,
        seed,
    )
    lexicon, relation, (source, target) = _exact(truth, tuple(corpus), reading)
    generator = torch.Generator().manual_seed(7 * seed + 3)
    added = noise * torch.randn(target.shape, generator=generator, dtype=target.dtype)
    return Pair(
        made_up("source", lexicon.source, source),
        made_up("target", lexicon.target, target + added),
        lexicon,
        relation,
    )


@lru_cache(maxsize=8)
def _exact(
    truth: Truth, corpus: tuple[str, ...], reading: Reading
) -> tuple[Lexicon, Relation, tuple[Tensor, Tensor]]:
    """The pair without noise; points that differ in the noise alone share it."""
    lexicon = read(corpus, reading)
    generator = torch.Generator().manual_seed(reading.seed)
    matrix = known_matrix(truth.matrix, truth.source_size, truth.target_size, generator)
    relation = RELATIONS[truth.relation](matrix, generator)
    rows = (lexicon.source.vocab_size, lexicon.target.vocab_size)
    return lexicon, relation, related_tables(relation, lexicon.order, rows, generator)


def made_up(name: str, tokenizer: WordTokenizer, table: Tensor) -> FrozenModel:
    """A model that is nothing but an embedding table [V, d]."""
    return FrozenModel(_TableOnly(table), tokenizer, name=name)


class _TableOnly(nn.Module):
    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(table), table.shape[1], _weight=table, _freeze=True)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding
