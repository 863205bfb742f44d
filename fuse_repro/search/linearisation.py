"""Where an objective is linearised: what stands in a prompt's open token while its gradient is taken.

A gradient is true at one point only, and candidates lie far from any. A point that no text has (a mask, a
mean embedding) keeps the prompt's meaning. The mean gradient over random tokens is that of the smoothed
objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fuse_repro.alignment.pairs import pad_ids
from fuse_repro.alignment.token_pieces import starts_word, token_pieces, token_texts
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.errors import require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives.prompt_batch import DUMMIES, NEUTRAL_WORD

KINDS = ("dummy", "zero", "mean", "expected", "likely", "random")
READABLE = 2  # letters that a random token has at least


@dataclass(frozen=True)
class Point:
    """One filler of the open token.

    Attributes:
        filler: what stands there; see OpenSlot.
        joins: whether it goes on with the last word.
    """

    filler: str
    joins: bool = False


@dataclass(frozen=True)
class Linearisation:
    """Settings: which points, and how many.

    Attributes:
        kind: "dummy" (one word: `word`), "zero" or "mean" (the zero vector, or the mean of the secondary
            model's embeddings), "expected" (its embeddings weighted by the language model's probabilities),
            "likely" (the language model's `count` most probable tokens), "random" (`count` random tokens that
            start a word).
        word: for kind "dummy": "mask", "auto" (see OpenSlot), or any text; "!" is what the published FUSE
            code has.
        count: how many tokens the kinds "likely" and "random" take.
        joining: how many random tokens that go on with the last word are taken as well. Such tokens are then
            predicted apart; see Proposal.
        seed: of the random tokens.

    Raises:
        UsageError: a setting out of range.
    """

    kind: str = "random"
    word: str = "auto"
    count: int = 32
    joining: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        name = "linearisation"
        require(self.kind in KINDS, f"{name}.kind", self.kind, f"one of {', '.join(KINDS)}")
        one_word = len(self.word.split()) == 1
        require(one_word, f"{name}.word", self.word, "one word, mask, or auto")
        require(self.count >= 1, f"{name}.count", self.count, "at least 1")
        good = self.joining == 0 or (self.joining > 0 and not self.moves)
        require(good, f"{name}.joining", self.joining, "at least 0, and 0 for kinds zero, mean, expected")

    def points(self, lm: CausalLM, log_probs: Tensor) -> list[Point]:
        """The points for one prompt.

        Args:
            lm: the language model.
            log_probs: [V], of the prompt's next token.

        Raises:
            UsageError: the vocabulary has no token of letters of the kind asked for.
        """
        if self.kind == "random":
            new = [Point(text) for text in random_tokens(lm.tokenizer, self.count, False, self.seed)]
        elif self.kind == "likely":
            new = [Point(text) for text in likely_tokens(lm.tokenizer, log_probs, self.count)]
        elif self.kind == "dummy":
            new = [Point(self.word if self.word in ("auto", "mask") else f" {self.word}")]
        else:
            new = [Point("auto")]
        joined = random_tokens(lm.tokenizer, self.joining, True, self.seed)
        return [*new, *(Point(text, joins=True) for text in joined)]

    @property
    def moves(self) -> bool:
        """Whether the open token has an embedding that no text has; see `vector`."""
        return self.kind in ("zero", "mean", "expected")

    @property
    def follows_lm(self) -> bool:
        """Whether the points depend on what the language model expects."""
        return self.kind in ("expected", "likely")

    def vector(self, model: FrozenModel, lm: CausalLM, log_probs: Tensor) -> Tensor:
        """The open token's embedding in `model`, [d_t], for kinds that move it."""
        if self.kind == "zero":
            return torch.zeros(model.embedding_size, device=model.device)
        if self.kind == "mean":
            return model.embedding_table().float().mean(0)
        return _expected(model, lm.tokenizer, log_probs)


def fillers_embedded(lm: CausalLM, points: Sequence[Point]) -> Tensor:
    """What stands in the open token at every point, as the language model itself embeds it: [n, d].

    A filler of several tokens is their mean. Maps that are not linear are linearised there.

    Args:
        lm: the language model.
        points: n of them, often several alike.
    """
    places = {filler: place for place, filler in enumerate(dict.fromkeys(p.filler for p in points))}
    neutral = f" {lm.tokenizer.mask_token or NEUTRAL_WORD}"
    ids, mask = pad_ids(lm.tokenizer.encode([neutral if f in DUMMIES else f for f in places]), lm.device)
    rows = lm.embed(ids) * mask.unsqueeze(2)
    means = rows.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
    return means[[places[point.filler] for point in points]]


@lru_cache(maxsize=64)
def random_tokens(tokenizer: WordTokenizer, count: int, joins: bool, seed: int) -> tuple[str, ...]:
    """Texts of `count` random tokens, letters only, that start a word (with its space) or join the last one.

    A small vocabulary may have fewer; then all of them are given.

    Raises:
        UsageError: the vocabulary has none.
    """
    pool = _word_tokens(tokenizer)[joins]
    none = f"no token of letters {'joins' if joins else 'starts'} a word: use another kind of points"
    require(bool(pool) or count == 0, "linearisation points", count, none)
    chosen = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]
    return tuple(pool[i] for i in chosen.tolist())


@lru_cache(maxsize=8)
def _word_tokens(tokenizer: WordTokenizer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts of the tokens of letters only: those that start a word, and those that do not."""
    ids = [token for token in range(tokenizer.vocab_size) if token not in tokenizer.special_ids]
    texts = [text for text in token_texts(tokenizer, ids) if _readable(text)]
    new = tuple(dict.fromkeys(text for text in texts if starts_word(text)))
    return new, tuple(dict.fromkeys(text for text in texts if not starts_word(text)))


def likely_tokens(tokenizer: WordTokenizer, log_probs: Tensor, count: int) -> list[str]:
    """Texts of the `count` most probable tokens that are new words, or of as many as there are."""
    order = log_probs.topk(min(len(log_probs), 8 * count + 64)).indices.tolist()
    texts = [text for text in token_texts(tokenizer, order) if starts_word(text) and _readable(text)]
    return list(dict.fromkeys(texts))[:count] or ["auto"]


def _readable(text: str) -> bool:
    word = text.strip()
    return word.isascii() and word.isalpha() and len(word) >= READABLE and text in (word, f" {word}")


def _expected(model: FrozenModel, tokenizer: WordTokenizer, log_probs: Tensor) -> Tensor:
    """Mean of the model's embeddings of the most probable tokens' pieces, weighted by probability."""
    top = log_probs.topk(min(256, len(log_probs)))
    pieces: Sequence[tuple[int, ...]] = token_pieces(tokenizer, model.tokenizer, top.indices.tolist())
    known = [(p, ids) for p, ids in zip(top.values.exp().tolist(), pieces, strict=True) if ids]
    rows = [model.embed(torch.tensor(ids, device=model.device)).float().mean(0) * p for p, ids in known]
    return torch.stack(rows).sum(0) / sum(p for p, _ in known)
