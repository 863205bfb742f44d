"""What held-out words say of every setting of the calibrated relative map, in both directions.

    python benchmarks/calibration.py

The rows that `adapter=relative` chooses from: recall@1, cosine and length of 150 held-out words with noise of 0.25
standard deviations, best cosine first. A calibration that a transfer has made is found in the cache.
"""

from dataclasses import asdict

from _common import report
from relative_closed_form import load

from fuse_repro.adapters import shared_anchors
from fuse_repro.adapters.relative.calibration import CalibrationRow, calibrated
from fuse_repro.weights import cache_folder

PAIRS = (("smollm2", "gemma"), ("gemma", "smollm2"))
FRAME = {(False, False): "as they are", (True, False): "centred", (True, True): "whitened"}


def line(row: CalibrationRow) -> str:
    frame = FRAME[row.centre, row.whiten]
    anchors = "all" if row.k is None else f"{row.k:,}"
    return f"| {frame} | {anchors} | {row.ridge:g} | {row.recall:.2f} | {row.cosine:.2f} | {row.length:.2f} |"


def main() -> None:
    models = load()
    figures = {}
    for names in PAIRS:
        source, target = (models[name] for name in names)
        rows = calibrated([source], target, shared_anchors([source, target]), cache_dir=cache_folder(None))
        best = {FRAME[row.centre, row.whiten]: row for row in reversed(rows)}  # of every frame
        figures[" -> ".join(names)] = {frame: asdict(row) for frame, row in best.items()}
        print(
            f"\n{' -> '.join(names)}\n\n| frame | k | ridge | recall@1 | cosine | length |\n|---|---|---|---|---|---|"
        )
        print("\n".join(line(row) for row in rows))
    report("calibration", figures)


if __name__ == "__main__":
    main()
