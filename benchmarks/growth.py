r"""How FUSE's cost grows: the time and memory of a fit, the bytes of its maps, and the time of a pullback.

    python benchmarks/growth.py                 # measures what is still missing, then fits and draws
    python benchmarks/growth.py --large         # besides, the points that take minutes
    python benchmarks/growth.py --draw          # only fits and draws

One thing at a time is changed from the base: d = 256 in both models, l = 4, 4,096 words of every length, 32,768 tokens.
Every point is a process of its own with one thread and random embeddings; times are its CPU seconds, memory is the
peak above the idle process. A point is one line of FOLDER/records.jsonl, so that a run that was stopped goes on.
The counted operations (fuse_repro/adapters/fuse/costs.py) times rates fitted to the cheaper half of the points predict
the other half, which checks them, and what this machine cannot measure.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _common import report
from _records import append, read

from fuse_repro.adapters.fuse.costs import (
    FuseSize,
    moved_numbers,
    peak_bytes,
    product_operations,
    pull_operations,
    solve_operations,
    stored_bytes,
)
from fuse_repro.adapters.fuse.faces import by_face
from fuse_repro.adapters.fuse.fit import fit_maps
from fuse_repro.adapters.fuse.pull import pull_words
from fuse_repro.adapters.fuse.settings import FuseSettings
from fuse_repro.alignment.pairs import WordPair

BASE = FuseSize(256, 256, (1, 2, 3, 4), 4096, 32_768)
PULLED, REPEATS = 64, 5  # words of a pullback
AXES = {
    "l": [replace(BASE, depths=tuple(range(1, l + 1))) for l in range(1, 9)],  # noqa: E741
    "words": [replace(BASE, words=1024 * 2**n) for n in range(7)],
    "d": [replace(BASE, d_i=d, d_j=d) for d in (128, 256, 512, 1024, 2048)],
    "vocabulary": [replace(BASE, vocabulary=32_768 * 2**n) for n in range(4)],
}
LARGE = [
    replace(BASE, d_i=2048, d_j=2048),
    replace(BASE, d_i=2048, d_j=2048, depths=(1, 2), words=2048),
    replace(BASE, d_i=4096, d_j=4096, depths=(1,), words=2048),
]
PAPER = [
    FuseSize(1024, d, (1, 2, 3, 4), 16_384, 50_257) for d in (512, 768)
]  # GPT-2 medium to CLIP and RoBERTa
PAPER_SECONDS = 4 * 60 + 22  # both fits, on a workstation (section 4.2)
MEASURED = ("fit_seconds", "peak_bytes", "pull_seconds")
SETTINGS = {"max_tokens": 8, "words_per_length": 65_536, "selection": "random", "group_by": "target", "ridge": 0.0,
            "beyond": "random", "shared_tokenizer": None, "compat": "paper", "seed": 0, "dtype": "float64",
            "storage": "float32", "rank": None, "share_above": None}  # fmt: skip


def child(size: FuseSize) -> dict[str, float]:
    """Fits and pulls back once: CPU seconds, and the peak above the idle process."""
    torch.set_num_threads(1)
    torch.linalg.eigh(torch.eye(4, dtype=torch.float64))  # libraries are loaded at first use
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(size.vocabulary, d, generator=generator) for d in (size.d_i, size.d_j)]
    models = [SimpleNamespace(embedding_table=lambda table=table: table) for table in tables]
    ids = {
        depth: torch.randint(size.vocabulary, (2, size.words, depth), generator=generator).tolist()
        for depth in size.depths
    }
    groups = {(depth,): list(zip(map(tuple, s), map(tuple, t), strict=True)) for depth, (s, t) in ids.items()}
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    idle = memory("VmRSS")
    begun = time.process_time()
    maps = fit_maps(*models, groups, FuseSettings(**SETTINGS))
    fitted = time.process_time() - begun
    peak = memory("VmHWM") - idle
    longest = max(size.depths)
    words = [WordPair(row, 0, longest, 0, longest) for row in range(PULLED)]
    gradient = torch.randn(PULLED, longest, size.d_j, generator=generator)
    column = {place: place for place in range(longest)}
    longest_map, pulls = by_face(maps[longest,]), []
    for _ in range(REPEATS):
        result = torch.zeros(PULLED, longest, size.d_i)
        begun = time.process_time()
        pull_words(gradient, result, words, (longest_map,), column)
        pulls.append(time.process_time() - begun)
    stored = sum(one.nbytes for one in maps.values())
    assert stored == stored_bytes(size)
    return {
        "fit_seconds": fitted,
        "peak_bytes": float(peak),
        "pull_seconds": statistics.median(pulls),
        "bytes": float(stored),
    }


def memory(what: str) -> int:
    """Bytes that this process has in memory (VmRSS), or the most it had (VmHWM), as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def measure(sizes: list[FuseSize], kept: Path) -> None:
    """Measure every size that has no record yet."""
    done = {size_of(record) for record in read(kept)}
    for size in dict.fromkeys(sizes):
        if size in done:
            continue
        about = json.dumps(asdict(size))
        run = subprocess.run([sys.executable, __file__, "--child", about], capture_output=True, text=True)
        if run.returncode:
            print(f"{about}: no measurement ({run.stderr.strip().splitlines()[-1:] or run.returncode})")
            continue
        append(kept, {"size": json.loads(about), **json.loads(run.stdout)})
        print(about, run.stdout.strip())


def size_of(record: dict[str, Any]) -> FuseSize:
    """The size that a record is of."""
    return FuseSize(**(record["size"] | {"depths": tuple(record["size"]["depths"])}))


def parts(size: FuseSize, quantity: str) -> list[float]:
    """What a measured quantity is a sum of, each with a rate of its own."""
    longest = max(size.depths)
    if quantity == "fit_seconds":
        return [product_operations(size), solve_operations(size), moved_numbers(size)]
    if quantity == "pull_seconds":
        return [pull_operations(longest, longest, PULLED, size), float(PULLED * longest**2)]
    return [peak_bytes(size)]


def rates(records: list[dict[str, Any]], quantity: str) -> np.ndarray:
    """Non-negative rates of the parts, by least squares of relative errors."""
    wanted = np.array([record[quantity] for record in records])
    rows = np.array([parts(size_of(record), quantity) for record in records]) / wanted[:, None]
    used = list(range(rows.shape[1]))
    while True:
        found = np.linalg.lstsq(rows[:, used], np.ones(len(wanted)), rcond=None)[0]
        if found.min() >= 0 or len(used) == 1:
            break
        used.pop(int(found.argmin()))
    whole = np.zeros(rows.shape[1])
    whole[used] = found
    return whole


def predicted(size: FuseSize, quantity: str, by: np.ndarray) -> float:
    """The counted parts times their rates."""
    return float(np.dot(parts(size, quantity), by))


def axis_value(size: FuseSize, axis: str) -> float:
    """Where a size stands on an axis; for l it is the sum of the lengths, which bytes are proportional to."""
    return {"l": float(sum(size.depths)), "words": size.words, "d": size.d_i, "vocabulary": size.vocabulary}[
        axis
    ]


def exponent(x: np.ndarray, y: np.ndarray, draws: int = 2000) -> list[float]:
    """The slope of log y by log x, with a 95% interval: pairs are resampled."""
    generator = np.random.default_rng(0)
    x, y = np.log(x), np.log(y)
    slopes = []
    while len(slopes) < draws:
        rows = generator.integers(len(x), size=len(x))
        if len(set(rows.tolist())) > 2:
            slopes.append(np.polyfit(x[rows], y[rows], 1)[0])
    return [
        round(float(value), 3) for value in (np.polyfit(x, y, 1)[0], *np.quantile(slopes, (0.025, 0.975)))
    ]


def figures_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Exponents per axis, the check of the counted operations, and what they say of sizes beyond this machine."""
    by_size = {size_of(record): record for record in records}
    exponents: dict[str, Any] = {}
    for axis, sizes in AXES.items():
        own = [by_size[size] for size in sizes if size in by_size]
        if len(own) > 2:
            x = np.array([axis_value(size_of(record), axis) for record in own])
            exponents[axis] = {
                name: exponent(x, np.array([record[name] for record in own])) for name in (*MEASURED, "bytes")
            }
    found: dict[str, Any] = {"points": records, "exponents": exponents, "check": {}, "extended": {}}
    for name in MEASURED:
        ordered = sorted(records, key=lambda record: record[name])
        by = rates(ordered[: (len(ordered) + 1) // 2], name)
        ratios = [predicted(size_of(r), name, by) / r[name] for r in ordered[(len(ordered) + 1) // 2 :]]
        by = rates(records, name)
        found["check"][name] = {
            "predicted_to_measured": [
                round(value, 2) for value in (min(ratios), statistics.median(ratios), max(ratios))
            ],
            "points_predicted": len(ratios),
            "rates": [float(f"{rate:.3g}") for rate in by],
        }
    for label, size in {
        "paper: 1024 -> 512, 16k words": PAPER[0],
        "paper: 1024 -> 768, 16k words": PAPER[1],
        "4096 -> 4096, l = 4, 16k words, 128k tokens": FuseSize(4096, 4096, (1, 2, 3, 4), 16_384, 131_072),
        "4096 -> 4096, l = 8, 64k words, 256k tokens": FuseSize(
            4096, 4096, tuple(range(1, 9)), 65_536, 262_144
        ),
    }.items():
        one = {name: float(f"{predicted(size, name, rates(records, name)):.3g}") for name in MEASURED}
        found["extended"][label] = one | {"bytes": stored_bytes(size)}
    found["paper"] = {
        "seconds": PAPER_SECONDS,
        "here": sum(predicted(size, "fit_seconds", rates(records, "fit_seconds")) for size in PAPER),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="How FUSE's cost grows.")
    parser.add_argument("--folder", type=Path, default=Path("outputs/growth"))
    parser.add_argument("--large", action="store_true", help="points that take minutes, too")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(size_of({"size": json.loads(given.child)}))))
        return
    kept = given.folder / "records.jsonl"
    if not given.draw:
        axes = [size for sizes in AXES.values() for size in sizes if size not in LARGE]
        measure([*axes, *(LARGE if given.large else ())], kept)
    records = read(kept)
    if len(records) < 6:
        sys.exit(
            f"growth: {len(records)} points in {kept} are too few to fit rates to: run it without --draw"
        )
    from _growth_picture import draw

    figures = figures_of(records)
    report("growth", figures)
    draw(figures, Path("docs/images/growth.png"))


if __name__ == "__main__":
    main()
