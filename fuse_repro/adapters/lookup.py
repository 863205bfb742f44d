"""The vocabulary lookup: every source token is what the target model writes for it.

No map is fitted in between. A linear map d_s -> d_t can only say where a token's embedding should lie in the
target's space; the tokenizers know. The lookup table L [V, d_t] holds, for each of the source's tokens, the
mean of the target's embeddings of its pieces. The gradient by a choice among V tokens is then G L^T, the
exact one-hot gradient for words of one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap, fit_values, pick
from fuse_repro.adapters.linear import pull_linear
from fuse_repro.adapters.prompt_checks import check_prompt
from fuse_repro.adapters.spans import Span, span_sums
from fuse_repro.algebra.least_squares import solve_gram
from fuse_repro.alignment.pairs import Alignment, WordPair, pad_ids
from fuse_repro.alignment.token_pieces import token_pieces
from fuse_repro.dtypes import WEIGHTS, torch_dtype
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.progress import track
from fuse_repro.storage import tensors as store

FORMAT = 1
BLOCK = 4096
DTYPES = {name: torch_dtype(name) for name in WEIGHTS}
STATE = ("codes", "basis", "centre", "weight", "source_mean")


@dataclass(frozen=True)
class LookupSettings:
    """How a table is made and kept; see `LookupMap.fit`.

    Attributes:
        rank: of the table; None is full rank.
        dtype: of the stored table.
        max_gib: the largest table allowed, in GiB.
        ridge: of the linear map closest to the table.
    """

    rank: int | None
    dtype: str
    max_gib: float
    ridge: float

    def __post_init__(self) -> None:
        whole = self.rank is None or self.rank >= 1
        require(whole, "adapter.rank", self.rank, "at least 1, or null for full rank")
        require(self.dtype in DTYPES, "adapter.dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        require(self.max_gib > 0, "adapter.max_gib", self.max_gib, "above 0")
        require(self.ridge >= 0, "adapter.ridge", self.ridge, "0 or more")


class LookupMap(EmbeddingMap):
    """A table of the target's embeddings for every source token.

    Token c is codes[c] @ basis + centre; without low rank the basis is empty ([0, d_t]) and the codes are the
    rows themselves. The linear map closest to the table over the whole vocabulary serves soft prompts and
    gradients by the source's embeddings, since these vectors are no tokens.

    Attributes:
        codes: [V, r].
        basis: [r, d_t].
        centre: [d_t].
        weight: [d_s, d_t], of the linear map.
        source_mean: [d_s], of the linear map.
    """

    codes: Tensor
    basis: Tensor
    centre: Tensor
    weight: Tensor
    source_mean: Tensor

    def __init__(self, source: FrozenModel, target: FrozenModel, state: dict[str, Tensor]) -> None:
        super().__init__(source, target)
        for name in STATE:
            self.register_buffer(name, state[name].to(source.device))

    @classmethod
    def fit(
        cls,
        source: FrozenModel,
        target: FrozenModel,
        words: Sequence[str] = (),
        *,
        cache_dir: Path | None = None,
        rank: int | None = None,
        dtype: str = "float32",
        max_gib: float = 2.0,
        ridge: float = 0.01,
    ) -> Self:
        """Write the table, or find it in `cache_dir`.

        Args:
            source: see `EmbeddingMap.fit`.
            target: see `EmbeddingMap.fit`.
            words: not used: the whole vocabulary is looked up.
            cache_dir: see `EmbeddingMap.fit`.
            rank: of the table, null is full rank; the best approximation by r directions.
            dtype: of the stored table: float32, float16 or bfloat16 (slower to multiply on a CPU).
            max_gib: refuse a table larger than this.
            ridge: of the linear map closest to the table, relative to the mean diagonal of its normal
                equations.

        Raises:
            UsageError: settings out of range, a table that is too large, and a target that can write no
                token.
        """
        settings = LookupSettings(rank, dtype, max_gib, ridge)
        _check_size(source, target, settings)
        inputs = _inputs(source, target, settings)
        expect = _expected(source, target, settings)
        state = store.kept(cache_dir, inputs, expect, lambda: _state(source, target, settings))
        return cls(source, target, state)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """See `EmbeddingMap.check`."""
        pick(LookupSettings, fit_values(cls.fit, settings))

    def rows(self, ids: Tensor) -> Tensor:
        """The table's rows of these tokens: [n, d_t], float32."""
        codes = self.codes[ids].float()
        return (codes if len(self.basis) == 0 else codes @ self.basis) + self.centre

    def transfer(self, prompt: Tensor) -> Tensor:
        """Soft prompt [m, d_s] -> [m, d_t], by the linear map closest to the table."""
        check_prompt(prompt, self.source)
        return (prompt - self.source_mean.to(prompt)) @ self.weight.to(prompt) + self.centre.to(prompt)

    def pullback(self, gradient: Tensor, alignment: Alignment) -> Tensor:
        """Gradient [B, S_t, d_t] -> [B, S_s, d_s], by the linear map closest to the table."""
        return pull_linear(gradient, alignment, self.weight)

    def pull_tokens(self, gradient: Tensor, alignment: Alignment, positions: Sequence[int]) -> Tensor:
        """The gradient by what the target writes for n source tokens of every row: [B, n, d_t].

        A word's source and target tokens are matched from its start; the last source token gets all target
        tokens that are left.

        Args:
            gradient: by the target's embeddings, [B, S_t, d_t].
            alignment: of the B texts.
            positions: of the source tokens, from 0 on, each once.
        """
        spans = [
            _span(row, word, position)
            for position in positions
            for row, word in enumerate(alignment.words_at(position))
        ]
        return span_sums(gradient, spans).view(len(positions), alignment.rows, -1).transpose(0, 1)

    def score_tokens(self, pulled: Tensor) -> Tensor:
        """First-order change of the objective with each of the source's V tokens: [B, d_t] -> [B, V]."""
        pulled = pulled.float()
        coordinates = pulled if len(self.basis) == 0 else pulled @ self.basis.T
        change = [coordinates @ codes.float().T for codes in self.codes.split(BLOCK)]
        return torch.cat(change, dim=1) + (pulled @ self.centre).unsqueeze(1)


def _span(row: int, word: WordPair | None, position: int) -> Span:
    """The target tokens that stand for a source token of a word; none where there is no word."""
    if word is None:
        return row, 0, 0
    begin, end = _share(position - word.source_start, word.source_count, word.target_count)
    return row, word.target_start + begin, word.target_start + end


def _share(token: int, source_count: int, target_count: int) -> tuple[int, int]:
    """Which target tokens of a word stand for one of its source tokens: `[begin, end)`, never empty."""
    begin = min(token, target_count - 1)
    return begin, target_count if token == source_count - 1 else begin + 1


def table_gib(source: FrozenModel, target: FrozenModel, rank: int | None, dtype: str) -> float:
    """How large the table of this rank and dtype is, in GiB."""
    width = target.embedding_size if rank is None else rank
    return source.tokenizer.vocab_size * width * DTYPES[dtype].itemsize / 2**30


def _check_size(source: FrozenModel, target: FrozenModel, settings: LookupSettings) -> None:
    rank, width = settings.rank, target.embedding_size
    size = table_gib(source, target, rank, settings.dtype)
    if rank is not None:
        require(rank <= width, "adapter.rank", rank, f"at most {width}, or null for full rank")
    if size > settings.max_gib:
        fits = int((rank or width) * settings.max_gib / size)
        raise UsageError(
            f"a lookup table of {source.tokenizer.vocab_size} tokens x {rank or width} takes {size:.3g} GiB, "
            f"above adapter.max_gib={settings.max_gib:g}: raise it, or set adapter.rank={max(fits, 1)} (low rank) or "
            "adapter.dtype=float16"
        )


def _inputs(source: FrozenModel, target: FrozenModel, settings: LookupSettings) -> dict[str, Any]:
    used = {key: value for key, value in asdict(settings).items() if key != "max_gib"}
    models = {"source": source.fingerprint, "target": target.fingerprint}
    return {"kind": "lookup", "format": FORMAT, **models, "settings": used}


def _expected(source: FrozenModel, target: FrozenModel, settings: LookupSettings) -> store.Expectation:
    x_size, y_size, rank = source.embedding_size, target.embedding_size, settings.rank
    codes = (source.tokenizer.vocab_size, rank or y_size)
    return {
        "codes": store.Expected(codes, DTYPES[settings.dtype]),
        "basis": store.Expected((rank or 0, y_size)),
        "centre": store.Expected((y_size,)),
        "weight": store.Expected((x_size, y_size)),
        "source_mean": store.Expected((x_size,)),
    }


@torch.no_grad()
def _state(source: FrozenModel, target: FrozenModel, settings: LookupSettings) -> dict[str, Tensor]:
    """Two passes over the vocabulary in blocks: moments first, then the rows.

    Raises:
        UsageError: the target can write no token of the source.
    """
    rank, dtype = settings.rank, DTYPES[settings.dtype]
    count, x_size, y_size = source.tokenizer.vocab_size, source.embedding_size, target.embedding_size
    moments = torch.zeros(x_size + y_size, x_size + y_size, dtype=torch.float64)
    sums, used = torch.zeros(x_size + y_size, dtype=torch.float64), 0
    blocks = range(0, count, BLOCK)
    rows = torch.zeros(count if rank is None else 0, y_size, dtype=dtype)
    missing = []
    for begin in track(blocks, "looking up the vocabulary"):
        ids = torch.arange(begin, min(begin + BLOCK, count))
        y, known = _look_up(source, target, ids)
        joint = torch.cat([source.embedding_table()[ids].cpu().double(), y.double()], dim=1)[known]
        moments += joint.T @ joint
        sums += joint.sum(0)
        used += int(known.sum())
        missing.append(ids[~known])
        if rank is None:
            rows[ids] = y.to(rows.dtype)
    if used == 0:
        raise UsageError(f"no token of {source.name} can be written by {target.name}: use another map")
    mean = sums / used
    covariance = moments - used * torch.outer(mean, mean)
    weight = solve_gram(covariance[:x_size, :x_size], covariance[:x_size, x_size:], settings.ridge)
    centre, basis = mean[x_size:].float(), torch.zeros(0, y_size)
    if rank is None:
        rows -= centre.to(rows.dtype)
    else:
        directions = torch.linalg.eigh(covariance[x_size:, x_size:]).eigenvectors
        basis = directions.flip(1)[:, :rank].T.float().contiguous()
        rows = torch.cat([_coded(source, target, begin, centre, basis, dtype) for begin in blocks])
    rows[torch.cat(missing)] = 0
    mean_x = mean[:x_size].float()
    return dict(zip(STATE, (rows, basis, centre, weight.float(), mean_x), strict=True))


def _coded(
    source: FrozenModel, target: FrozenModel, begin: int, centre: Tensor, basis: Tensor, dtype: torch.dtype
) -> Tensor:
    """One block of the table in the low-rank basis."""
    ids = torch.arange(begin, min(begin + BLOCK, source.tokenizer.vocab_size))
    return ((_look_up(source, target, ids)[0] - centre) @ basis.T).to(dtype)


def _look_up(source: FrozenModel, target: FrozenModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The mean target embedding of every token's pieces, [n, d_t] on the CPU, and whether it has any, [n]."""
    pieces = token_pieces(source.tokenizer, target.tokenizer, ids.tolist())
    padded, mask = pad_ids(pieces, target.device)
    special = torch.tensor([i in source.tokenizer.special_ids for i in ids.tolist()])
    known = mask.any(1).cpu() & ~special
    total = (target.embed(padded).float() * mask.unsqueeze(2)).sum(1)
    return (total / mask.sum(1, keepdim=True).clamp_min(1)).cpu(), known
