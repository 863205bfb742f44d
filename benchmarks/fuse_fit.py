"""Fitting a 576 -> 384 FUSE adapter: streamed normal equations against dense pseudoinverses.

    python benchmarks/fuse_fit.py

16,384 words per length, l = 1..4, depth l, as the paper has it. Each way runs in a process of its own, so that its peak
memory is its own; random embeddings stand in for real ones, since values do not change the cost.
`dense` is the pseudoinverse of the block-circulant matrix; `facewise` that of every Fourier face; both hold all words
at once and multiply V^+ by V_j afterwards.
`agreement` is the largest difference of the maps, relative to their largest.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _common import report

from fuse_repro.adapters.fuse.fit import BLOCK
from fuse_repro.algebra.t_product import TLeastSquares, t_pinv, t_product

WORDS, D_I, D_J, LENGTHS = 16384, 576, 384, (1, 2, 3, 4)


def block(depth: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of one block of words: [BLOCK, d, depth] of either model."""
    generator = torch.Generator().manual_seed(1000 * depth + index)
    return tuple(torch.randn(BLOCK, d, depth, generator=generator) * 0.05 for d in (D_I, D_J))


def streamed(depth: int) -> torch.Tensor:
    equations = TLeastSquares(D_I, D_J, (depth,), dtype=torch.float64)
    for index in range(WORDS // BLOCK):
        equations.update(*block(depth, index))
    return equations.solve().float()


def all_words(depth: int) -> list[torch.Tensor]:
    sides = zip(*(block(depth, index) for index in range(WORDS // BLOCK)), strict=True)
    return [torch.cat(side) for side in sides]


def facewise(depth: int) -> torch.Tensor:
    v, w = all_words(depth)
    return t_product(t_pinv(v), w)


def block_circulant(a: torch.Tensor) -> torch.Tensor:
    """[m, k, n] -> [m n, k n]."""
    depth = a.shape[-1]
    rows = [torch.cat([a[..., (i - j) % depth] for j in range(depth)], dim=1) for i in range(depth)]
    return torch.cat(rows)


def dense(depth: int) -> torch.Tensor:
    v, w = all_words(depth)
    inverse = torch.linalg.pinv(block_circulant(v))
    columns = torch.cat([w[..., j] for j in range(depth)])
    return (inverse @ columns).reshape(depth, D_I, D_J).permute(1, 2, 0)


def child(way: str, folder: str) -> None:
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    maps = [globals()[way](depth) for depth in LENGTHS]
    elapsed = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.save(maps, Path(folder) / f"{way}.pt")
    print(json.dumps({"seconds": elapsed, "peak_mib_above_idle": (peak - idle) / 1024}))


def main() -> None:
    with TemporaryDirectory() as folder:
        figures = {}
        for way in ("streamed", "facewise", "dense"):
            command = [sys.executable, __file__, way, folder]
            figures[way] = json.loads(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout
            )
        maps = {way: torch.load(Path(folder) / f"{way}.pt", weights_only=True) for way in figures}
    for way in ("facewise", "dense"):
        pairs = zip(maps[way], maps["streamed"], strict=True)
        figures[way]["agreement"] = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
        for key in ("seconds", "peak_mib_above_idle"):
            figures[way][f"{key}_ratio"] = figures[way][key] / figures["streamed"][key]
    report("fuse_fit", {"words_per_length": WORDS, "lengths": LENGTHS, **figures})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(*sys.argv[1:])
    else:
        main()
