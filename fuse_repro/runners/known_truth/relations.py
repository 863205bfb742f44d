"""Known relations between the embeddings of a word's tokens in two models.

A word has s tokens in the source, with embeddings E_s [s, d_s], and t in the target, with E_t [t, d_t]. A relation is a
set of linear equations between them, which hold for every word of a lexicon:

    sum_a E_s[a] B[a, e] = sum_b c[b, e] E_t[b]    for every e,

with matrices B[a, e] [d_s, d_t] and numbers c[b, e] that depend on s and t alone. Where they hold, the Jacobian of the
target's embeddings by the source's is known.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from fuse_repro.errors import require

CONDITION = 4.0  # largest to smallest singular value of a general map
MATRICES = ("rotation", "general")


def known_matrix(kind: str, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A random matrix [rows, columns] of full rank, float64.

    Args:
        kind: "rotation" (all singular values 1; for rows = columns orthogonal) or "general" (from 1/2 to 2).
        rows: d_s.
        columns: d_t.
        generator: of the entries.

    Raises:
        UsageError: an unknown kind.
    """
    require(kind in MATRICES, "matrix", kind, f"one of {', '.join(MATRICES)}")
    rank = min(rows, columns)
    left, right = (
        torch.linalg.qr(torch.randn(size, rank, generator=generator, dtype=torch.float64))[0]
        for size in (rows, columns)
    )
    lowest = CONDITION**-0.5 if kind == "general" else 1.0
    return (
        left
        @ torch.diag(torch.logspace(0, 1, rank, base=1 / lowest**2, dtype=torch.float64) * lowest)
        @ right.T
    )


class Relation(ABC):
    """What holds for every word.

    Attributes:
        sees_places: whether the relation says where in a word each of its tokens leads. If not, only an objective of
            words' sums has a known gradient.
        matrix: A [d_s, d_t], the map of words of one token in both models.
    """

    sees_places: ClassVar[bool]

    def __init__(self, matrix: Tensor, generator: torch.Generator) -> None:
        """Draw what the relation needs beside the matrix.

        Args:
            matrix: A, [d_s, d_t].
            generator: of everything random.
        """
        self.matrix, self.generator = matrix, generator

    @abstractmethod
    def equations(self, s: int, t: int) -> tuple[Tensor, Tensor]:
        """B [s, e, d_s, d_t] and c [t, e] of words of s source and t target tokens."""

    @abstractmethod
    def jacobian(self, s: int, t: int) -> Tensor:
        """How target token b changes with source token a: [s, t, d_s, d_t], entry [a, b]."""


class Places(Relation):
    """FUSE's own equation: E_t = E_s * T, the t-product, with zeros where a word has fewer tokens.

    T has as many faces as the longer side has tokens, and is the same for all words of t target and at most t source
    tokens. For words of one token it is the matrix.
    """

    sees_places = True

    def __init__(self, matrix: Tensor, generator: torch.Generator) -> None:
        super().__init__(matrix, generator)
        self._maps: dict[tuple[int, int], Tensor] = {(1, 1): matrix.unsqueeze(0)}

    def faces(self, s: int, t: int) -> Tensor:
        """T, by faces: [n, d_s, d_t] with n = max(s, t)."""
        depth = max(s, t)
        key = (depth, t)
        if key not in self._maps:
            rows, columns = self.matrix.shape
            own = torch.Generator().manual_seed(self.generator.initial_seed() * 1009 + 31 * depth + t)
            drawn = [known_matrix("general", rows, columns, own) for _ in range(depth)]
            self._maps[key] = torch.stack(drawn) / depth**0.5
        return self._maps[key]

    def equations(self, s: int, t: int) -> tuple[Tensor, Tensor]:
        """See `Relation.equations`; an equation per face."""
        faces = self.faces(s, t)
        depth = len(faces)
        places = (torch.arange(depth) - torch.arange(s).unsqueeze(1)) % depth
        return faces[places], torch.eye(t, depth, dtype=faces.dtype)

    def jacobian(self, s: int, t: int) -> Tensor:
        """See `Relation.jacobian`: face (b - a) mod n."""
        return self.equations(s, t)[0][:, :t]


class Sums(Relation):
    """The sum of a word's target embeddings is the image of the sum of its source embeddings; pieces are free."""

    sees_places = False

    def equations(self, s: int, t: int) -> tuple[Tensor, Tensor]:
        """See `Relation.equations`; one equation."""
        return self.matrix.expand(s, 1, -1, -1), self.matrix.new_ones(t, 1)

    def jacobian(self, s: int, t: int) -> Tensor:
        """See `Relation.jacobian`; what the relation leaves open is spread evenly over the target's tokens."""
        return (self.matrix / t).expand(s, t, -1, -1)


class Means(Relation):
    """The mean of a word's target embeddings is the image of the mean of its source embeddings; pieces are free."""

    sees_places = False

    def equations(self, s: int, t: int) -> tuple[Tensor, Tensor]:
        """See `Relation.equations`; one equation."""
        return (self.matrix / s).expand(s, 1, -1, -1), self.matrix.new_full((t, 1), 1 / t)

    def jacobian(self, s: int, t: int) -> Tensor:
        """See `Relation.jacobian`; every target token follows the mean."""
        return (self.matrix / s).expand(s, t, -1, -1)


RELATIONS: dict[str, type[Relation]] = {"places": Places, "sums": Sums, "means": Means}
