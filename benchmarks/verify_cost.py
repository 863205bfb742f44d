"""What verifying the cached weights adds to the start of a run: `experiment=demo` up to its loaded models and data.

    python benchmarks/verify_cost.py [STARTS]

Every start is a process of its own: it imports, composes, loads all models, and reads the photographs. Starts with
`weights.verify=never`, `changed` and `always` take turns, after one of each to warm up. Machines are noisy, so the
share of a start that is spent inside the verification, timed within that start, is the figure to read; the ratio of
the medians stands beside it. Files count as unchanged in `changed` and as in memory in all.
"""

import json
import statistics
import subprocess
import sys
import time

STARTS = 7
MODES = ("never", "changed", "always")


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in MODES:
        print(json.dumps(start(sys.argv[1], float(sys.argv[2]))))
        return
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else STARTS
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    for number in range(starts + 1):
        for mode in MODES:
            command = [sys.executable, __file__, mode, str(time.time())]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            if number:
                found[mode].append(json.loads(done.stdout.splitlines()[-1]))
    whole = {mode: statistics.median(row["start"] for row in rows) for mode, rows in found.items()}
    inside = {mode: statistics.median(row["verifying"] for row in rows) for mode, rows in found.items()}
    from _common import report

    report(
        "verify_cost",
        {
            "starts_of_each": starts,
            "start_seconds": whole,
            "verifying_seconds": inside,
            "verifying_share_of_start": {
                mode: statistics.median(row["verifying"] / row["start"] for row in rows)
                for mode, rows in found.items()
            },
            "changed_verifying_minus_never_verifying_over_never_start": (inside["changed"] - inside["never"])
            / whole["never"],
            "ratio_of_starts_to_never": {mode: whole[mode] / whole["never"] for mode in MODES},
        },
    )


def start(mode: str, begun: float) -> dict[str, float]:
    """Seconds since `begun` until all is loaded, and those of them that verification took."""
    from _common import config

    from fuse_repro.runners.build import build, build_data
    from fuse_repro.weights import cache
    from fuse_repro.weights.verify import verifying

    spent = 0.0
    verified = cache.verified

    def timed(*arguments: object) -> object:
        nonlocal spent
        before = time.perf_counter()
        try:
            return verified(*arguments)  # type: ignore[arg-type]
        finally:
            spent += time.perf_counter() - before

    cache.verified = timed  # type: ignore[assignment]
    composed = config("experiment=demo", f"weights.verify={mode}")
    with verifying(composed.weights.verify):
        for node in composed.models.values():
            build(node)
        list(build_data(composed.dataset).items)
    return {"start": time.time() - begun, "verifying": spent}


if __name__ == "__main__":
    main()
