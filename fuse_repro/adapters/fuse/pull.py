"""The circulant arithmetic of one word's map, and its use on a batch of words.

For a word of s source and t target tokens and a map T of depth n >= max(s, t), the t-product E_t = E_s * T
reads E_t[b] = sum_a E_s[a] T[(b - a) mod n], so its vector-Jacobian product, the t-product with the
t-transpose of T, is G_s[a] = sum_b G_t[b] T[(b - a) mod n]^T: s * t small matrix products and no Fourier
transform (FUSE, section 4.2: "the sum of m^2 matrix multiplications").
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fuse_repro.adapters.fuse.faces import Factors, by_face, pull
from fuse_repro.alignment.pairs import WordPair


def pull_words(
    gradient: Tensor,
    result: Tensor,
    words: Iterable[WordPair],
    factors: Factors,
    column: Mapping[int, int],
    permute_only: bool = False,
) -> None:
    """Pull the target gradients of `words`, all through one map, and add them to `result`.

    Args:
        gradient: by the target's embeddings, [B, S_t, d_t].
        result: [B, n, d_s], changed in place.
        words: which tokens belong together.
        factors: of a map [d_s, d_t, n], with n at least the token counts of every word.
        column: the source tokens that are asked for, each with its place in `result`.
        permute_only: transpose each face but leave their order, which is not the t-transpose; kept for
            comparison with the published code.
    """
    depth, sign = factors[0].shape[-1], -1 if permute_only else 1
    faces: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for word in words:
        for a in range(word.source_count):
            place = column.get(word.source_start + a)
            if place is not None:
                for b in range(word.target_count):
                    faces[sign * (b - a) % depth].append((word.row, word.target_start + b, place))
    for number, face in faces.items():
        rows, targets, places = torch.tensor(face, device=gradient.device).T
        pulled = pull(gradient[rows, targets], factors, number)
        result.index_put_((rows, places), pulled, accumulate=True)


def random_tensor_map(sizes: tuple[int, int], depth: int, std: float, seed: int) -> Tensor:
    """A map of independent normal entries [d_s, d_t, depth]; the same for the same arguments everywhere."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + depth)
    return torch.randn(*sizes, depth, generator=generator) * std


class RandomMaps:
    """The random maps of one scale and seed, each drawn once for every depth, device and dtype.

    They are no part of a module's state, since the seed gives them again.
    """

    def __init__(self, sizes: tuple[int, int], std: float, seed: int) -> None:
        """Draw nothing yet.

        Args:
            sizes: (d_s, d_t).
            std: of the entries.
            seed: of all of them; every depth has its own entries.
        """
        self._sizes, self._std, self._seed = sizes, std, seed
        self._drawn: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    def like(self, depth: int, values: Tensor) -> Tensor:
        """The map [d_s, d_t, depth], with the device and dtype of `values`."""
        key = (depth, values.device, values.dtype)
        if key not in self._drawn:
            drawn = random_tensor_map(self._sizes, depth, self._std, self._seed)
            self._drawn[key] = by_face(drawn.to(values))
        return self._drawn[key]
