"""Sixty points of a sweep, a tenth of them killed on a real Slurm; and kill -9 of the parent on this machine.

    PYTHONPATH=tests:tests/integration python benchmarks/sweep_survival.py [--models]

The points load no model and record random numbers of their seed; with --models, tiny random models caption three drawn
photographs at every point (some 15 CPU minutes). The records of the disturbed sweeps are compared with
those of an undisturbed serial one. Needs root, and apt-get install slurm-wlm munge.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import slurm_cluster
from _common import report
from drills import CONFIGS
from PIL import Image, ImageDraw
from tiny_models import save_model, tiny_clip, tiny_gpt2

from fuse_repro.runs.directory import RECORDS, STATUS, read_json, read_records
from fuse_repro.sweeps.slurm_queue import read_jobs
from fuse_repro.sweeps.sweep import Sweep, read_sweep

DRILLS = [
    f"--config-dir={CONFIGS}",
    "experiment=drill",
    "logger=none",
    "runner.seconds=0.1",
    "seed=range(0,20)",
    "runner.scale=1.0,2.0,3.0",
]
LIMITED = [
    *DRILLS[:3],
    "runner.seconds=2",
    "runner.count=120",
    "hydra.launcher.timeout_min=2",
    "hydra.launcher.signal_delay_s=20",
]
GRID = ["seed=range(0,10)", "adapter=fuse,random", "optimizer.beam=1,2,3"]
WAYS = ("sigkill", "scancel", "requeue", "time_limit_signal", "sigkill", "scancel")
SLURM = ["hydra/launcher=slurm", "hydra.launcher.poll_s=1", "hydra.launcher.cpus_per_task=1"]
RERUNS = 5


def main() -> None:
    with_models = sys.argv[1:] == ["--models"]
    with tempfile.TemporaryDirectory(prefix="sweep_survival_") as name:
        folder = Path(name)
        base = models(folder) if with_models else DRILLS
        serial, _ = until_done(base, folder / "serial", ["hydra.launcher.in_process=true"])
        figures = {"points": len(serial), "models": with_models, "local": local(base, folder, serial)}
        reason = slurm_cluster.missing(accounting=False)
        figures["slurm"] = reason or on_slurm(base, folder, serial)
        report("sweep_survival", figures)


def models(folder: Path) -> list[str]:
    """Tiny models and photographs; the overrides that use them."""
    save_model(tiny_gpt2(), folder / "lm")
    save_model(tiny_clip(), folder / "vision")
    (folder / "photos").mkdir()
    for colour in ("red", "green", "blue"):
        image = Image.new("RGB", (48, 40), colour)
        ImageDraw.Draw(image).ellipse((8, 8, 30, 30), fill="white")
        image.save(folder / "photos" / f"{colour}.png")
    return [
        "experiment=caption",
        "trainer=cpu",
        "logger=none",
        "model@models.lm=gpt2",
        "models.lm.source=path",
        f"models.lm.path={folder / 'lm'}",
        "model@models.vision=clip_vit_b32",
        "models.vision.source=path",
        f"models.vision.path={folder / 'vision'}",
        f"dataset.path={folder / 'photos'}",
        "corpus.size=2000",
        "optimizer.candidates=8",
        "optimizer.max_new_tokens=3",
        f"cache_dir={folder / 'cache'}",
        *GRID,
    ]


def local(base: list[str], folder: Path, serial: dict[str, list[dict]]) -> dict:
    """kill -9 of the command twice, at a random record; then the same command until all is done."""
    draw = random.Random(0)
    extra = ["hydra.launcher.workers=2"]
    for _ in range(2):
        process = start(base, folder / "local", extra)
        target = records_written(folder / "local") + draw.randint(10, 60)
        while process.poll() is None and records_written(folder / "local") < target:
            time.sleep(0.05)
        process.kill()
        process.wait()
    ours, reruns = until_done(base, folder / "local", extra)
    return compare(ours, serial) | {"kills_of_the_parent": 2, "reruns": reruns}


def on_slurm(base: list[str], folder: Path, serial: dict[str, list[dict]]) -> dict:
    """The first start is disturbed; the same command follows until all is done."""
    with slurm_cluster.running(folder / "cluster", accounting=False) as environment:
        os.environ.update(environment)
        begun = time.perf_counter()
        limited = start(LIMITED, folder / "limit", SLURM)
        process = start(base, folder / "slurm", SLURM)
        struck = disturb(process, folder / "slurm", random.Random(1))
        process.wait()
        first = Counter(state_of(folder / "slurm").values())
        ours, reruns = until_done(base, folder / "slurm", SLURM)
        seconds = time.perf_counter() - begun
        figures = {
            "struck": struck,
            "states_after_first_start": dict(first),
            "reruns": reruns,
            "seconds": seconds,
        }
        limited.wait()
        return compare(ours, serial) | figures | {"time_limit": time_limit(folder / "limit")}


def disturb(process: subprocess.Popen, root: Path, draw: random.Random) -> dict[str, int]:
    """End as many runs as there are ways, each in its way and once it is at work; way -> how often."""
    struck: Counter[str] = Counter()
    waiting = list(WAYS)
    chosen: dict[str, str] = {}
    while process.poll() is None and (waiting or chosen):
        sweep = sweep_of(root)
        if sweep is None:
            time.sleep(0.2)
            continue
        if not chosen:
            chosen = dict(zip(draw.sample(sorted(sweep.points), len(waiting)), waiting, strict=True))
            waiting = []
        jobs = read_jobs(sweep.directory)
        for key, way in list(chosen.items()):
            directory = sweep.points[key].directory
            status = read_json(directory / STATUS) if (directory / STATUS).exists() else {}
            if status.get("state") == "running" and key in jobs:
                strike(way, jobs[key], status["pid"])
                struck[way] += 1
                del chosen[key]
            elif status.get("state") == "done":  # too quick for us: another point in its place
                del chosen[key]
                idle = {name for name, state in state_of(root).items() if state not in ("done", "running")}
                if left := sorted(idle - chosen.keys()):
                    chosen[draw.choice(left)] = way
        time.sleep(0.02)
    return dict(struck)


def strike(way: str, job: str, pid: int) -> None:
    """End a running job in this way."""
    if way == "sigkill":
        os.kill(pid, signal.SIGKILL)
    else:
        command = {
            "scancel": ["scancel", job],
            "requeue": ["scontrol", "requeue", job],
            "time_limit_signal": ["scancel", "--signal=USR2", job],
        }[way]
        subprocess.run(command, check=False)


def time_limit(root: Path) -> dict:
    """How the run fared that takes four minutes in jobs of two."""
    rows, starts = until_done(LIMITED, root, SLURM)
    sweep = sweep_of(root)
    assert sweep is not None
    requeues = sum(log.read_text().count("Requeued job") for log in sweep.directory.glob("slurm/*_log.*"))
    return {"records": sum(map(len, rows.values())), "requeues": requeues, "reruns": starts}


def start(base: list[str], root: Path, extra: list[str]) -> subprocess.Popen:
    """The command of the sweep, as a process."""
    command = [sys.executable, "-m", "fuse_repro.cli", "-m", *base, *extra, f"output_root={root}"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def until_done(base: list[str], root: Path, extra: list[str]) -> tuple[dict[str, list[dict]], int]:
    """Point -> its records, once the command has ended with exit code 0, and how often it was started."""
    for starts in range(1, RERUNS + 1):
        if start(base, root, extra).wait() == 0:
            sweep = sweep_of(root)
            assert sweep is not None
            return {key: read_records(point.directory) for key, point in sweep.points.items()}, starts
    raise RuntimeError(f"{root} is not done after {RERUNS} starts: {state_of(root)}")


def compare(ours: dict[str, list[dict]], serial: dict[str, list[dict]]) -> dict:
    """How the records of two sweeps agree."""
    equal = [key for key in serial if json.dumps(ours.get(key)) == json.dumps(serial[key])]
    ids = {key: [row["id"] for row in rows] for key, rows in ours.items()}
    return {
        "points_done": len(ours),
        "records": sum(map(len, ours.values())),
        "records_there_twice": sum(len(names) - len(set(names)) for names in ids.values()),
        "points_equal_to_the_serial_run": len(equal),
    }


def sweep_of(root: Path) -> Sweep | None:
    """The one sweep below `root`, if it has begun."""
    found = list(root.glob("*/*/sweep.json"))
    return read_sweep(found[0].parent) if found else None


def state_of(root: Path) -> dict[str, str]:
    """Point -> its state."""
    sweep = sweep_of(root)
    return {key: point.state.state for key, point in sweep.points.items()} if sweep else {}


def records_written(root: Path) -> int:
    """Lines in all records.jsonl below `root`."""
    return sum(len(path.read_bytes().splitlines()) for path in root.rglob(RECORDS))


if __name__ == "__main__":
    main()
