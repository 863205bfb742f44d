"""Embedding tables that satisfy a relation for every word of a lexicon.

The target's pieces are random. The source's tokens are random, too; then, word after word, the one that no word before
has is changed by as little as makes the word's equations true. No word's equations are touched again.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fuse_repro.errors import require
from fuse_repro.runners.known_truth.lexicon import Known
from fuse_repro.runners.known_truth.relations import Relation


def related_tables(
    relation: Relation, words: Sequence[Known], rows: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Tables [V_s, d_s] and [V_t, d_t], float64, in which the relation holds for all of the words.

    Args:
        relation: what shall hold.
        words: in the order in which each has a fresh token.
        rows: V_s and V_t.
        generator: of the random tables.

    Raises:
        UsageError: a source size too small for what a token has to hold.
    """
    source, target = (
        torch.randn(count, width, generator=generator, dtype=torch.float64)
        for count, width in zip(rows, relation.matrix.shape, strict=True)
    )
    solvers: dict[tuple[int, int, int], Tensor] = {}
    for known in words:
        s, t = len(known.source), len(known.target)
        blocks, shares = relation.equations(s, t)
        ids = torch.tensor(known.source)
        if (key := (s, t, known.fresh)) not in solvers:
            solvers[key] = _solver(blocks[known.fresh])
        left = torch.einsum("ad,aedf->ef", source[ids], blocks)
        right = shares.T @ target[torch.tensor(known.target)]
        source[known.source[known.fresh]] -= (left - right).flatten() @ solvers[key]
    return source, target


def _solver(block: Tensor) -> Tensor:
    """The pseudoinverse [e d_t, d_s] of what a token says about all equations of its word, B [e, d_s, d_t]."""
    wide = block.transpose(0, 1).flatten(1)
    require(
        wide.shape[0] >= wide.shape[1],
        "source_size",
        wide.shape[0],
        f"at least {wide.shape[1]}: a token of the source holds what {block.shape[0]} target tokens of size "
        f"{block.shape[2]} say",
    )
    return torch.linalg.pinv(wide)


def violation(
    relation: Relation, words: Mapping[tuple[int, int], Sequence[Known]], tables: tuple[Tensor, Tensor]
) -> float:
    """The largest difference between the two sides of any equation."""
    worst = 0.0
    for (s, t), some in words.items():
        blocks, shares = relation.equations(s, t)
        s_ids, t_ids = (
            torch.tensor(list(side)) for side in zip(*((k.source, k.target) for k in some), strict=True)
        )
        image = torch.einsum("wad,aedf->wef", tables[0][s_ids], blocks)
        own = torch.einsum("wbf,be->wef", tables[1][t_ids], shares)
        worst = max(worst, float((image - own).abs().max()))
    return worst
