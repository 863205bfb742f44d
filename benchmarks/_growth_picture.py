"""The picture of benchmarks/growth.py: measured points, and the counted operations as lines that go further."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import growth
import matplotlib as mpl
import numpy as np

from fuse_repro.adapters.fuse.costs import FuseSize, stored_bytes

mpl.use("Agg")
import matplotlib.pyplot as plt

ROWS = {
    "fit_seconds": ("fit, CPU seconds", 1.0),
    "peak_bytes": ("peak memory of a fit, MiB", 2.0**20),
    "pull_seconds": ("pullback of 64 words, CPU ms", 1e-3),
    "bytes": ("maps, MiB", 2.0**20),
}
COLUMNS = {
    "l": "l, tokens of the longest word",
    "words": "words of each length",
    "d": "d of both models",
    "vocabulary": "tokens of each vocabulary",
}
FURTHER = {
    "l": [replace(growth.BASE, depths=tuple(range(1, n + 1))) for n in range(1, 9)],
    "words": [replace(growth.BASE, words=1024 * 2**n) for n in range(7)],
    "d": [replace(growth.BASE, d_i=d, d_j=d) for d in (128, 256, 512, 1024, 2048, 4096)],
    "vocabulary": [replace(growth.BASE, vocabulary=32_768 * 2**n) for n in range(4)],
}
INK, MEASURED, PAPER = "#444444", "#1f6fb4", "#c2410c"


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Write the picture: one row per cost, one column per size that is changed."""
    records = {growth.size_of(record): record for record in figures["points"]}
    rates = {name: np.array(figures["check"][name]["rates"]) for name in growth.MEASURED}
    figure, panels = plt.subplots(len(ROWS), len(COLUMNS), figsize=(13, 11), sharey="row", sharex="col")
    for row, (name, (label, unit)) in enumerate(ROWS.items()):
        for column, (axis, title) in enumerate(COLUMNS.items()):
            panel = panels[row][column]

            def counted(size: FuseSize, name: str = name) -> float:
                exact = name == "bytes"
                return float(stored_bytes(size)) if exact else growth.predicted(size, name, rates[name])

            own = [size for size in growth.AXES[axis] if size in records]
            panel.plot(
                [_place(size, axis) for size in FURTHER[axis]],
                [counted(size) / unit for size in FURTHER[axis]],
                color=INK, linewidth=1, label="counted operations",
            )  # fmt: skip
            panel.plot(
                [_place(size, axis) for size in own],
                [records[size][name] / unit for size in own],
                "o", color=MEASURED, markersize=5, label="measured",
            )  # fmt: skip
            _describe(panel, figures["exponents"].get(axis, {}).get(name), axis)
            if column == 0:
                panel.set_ylabel(label)
            if row == len(ROWS) - 1:
                panel.set_xlabel(title)
    _published(panels[0][list(COLUMNS).index("d")], rates["fit_seconds"])
    panels[0][-1].legend(fontsize=8, loc="upper right", frameon=False)
    base = growth.BASE
    figure.suptitle(
        f"What FUSE costs, one size changed at a time from d = {base.d_i}, l = {max(base.depths)}, "
        f"{base.words:,} words of each length, {base.vocabulary:,} tokens; one thread",
        fontsize=11,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _place(size: FuseSize, axis: str) -> float:
    return max(size.depths) if axis == "l" else growth.axis_value(size, axis)


def _describe(panel: Any, exponent: list[float] | None, axis: str) -> None:
    """Logarithmic axes, and the measured exponent."""
    panel.set_yscale("log")
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda x, _: f"{x / 1024:g}k" if x >= 1024 else f"{x:g}")
    )
    panel.grid(color="#dddddd", linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    if exponent is not None:
        slope, low, high = (value + 0.0 if abs(value) >= 0.005 else 0.0 for value in exponent)
        what = "sum of lengths" if axis == "l" else axis
        panel.set_title(f"{what} ^ {slope:.2f} ({low:.2f} to {high:.2f})", fontsize=8, loc="left", pad=3)


def _published(panel: Any, rates: np.ndarray) -> None:
    """The fits of the paper: published, and what the counted operations say of them here."""
    sizes = (256, 512, 1024, 2048, 4096)
    both = [
        [replace(size, d_i=d, d_j=size.d_j * d // growth.PAPER[0].d_i) for size in growth.PAPER]
        for d in sizes
    ]
    seconds = [sum(growth.predicted(size, "fit_seconds", rates) for size in pair) for pair in both]
    panel.plot(sizes, seconds, "--", color=PAPER, linewidth=1)
    panel.plot([growth.PAPER[0].d_i], [growth.PAPER_SECONDS], "*", color=PAPER, markersize=12)
    panel.annotate(
        "published: 4 min 22 s",
        (growth.PAPER[0].d_i, growth.PAPER_SECONDS),
        xytext=(-8, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=PAPER,
    )
    panel.annotate(
        "dashed: the paper's two fits,\n16,384 words, counted",
        (0.98, 0.05),
        xycoords="axes fraction",
        ha="right",
        fontsize=8,
        color=PAPER,
    )
