"""Readers of files that the package keeps: prompts, maps, weights, models."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_models import save_model, tiny_gpt2

from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.prompts import for_model, load_peft, normal_init, save_peft
from fuse_repro.storage import tensors as store
from fuse_repro.weights import resolve
from fuse_repro.weights.cache import cached

from .attempt import Reader
from .samples import files_of

SPEC = {"kind": "fuzz"}
MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


def file_readers() -> list[Reader]:
    """All of them."""
    lm = tiny_gpt2()
    prompt = for_model(lm, normal_init(lm, 3, torch.Generator().manual_seed(0)))
    model = files_of(lambda folder: save_model(lm, folder))
    return [
        Reader(
            "peft prompt", files_of(lambda folder: save_peft(prompt, folder, lm)), lambda f: load_peft(f, lm)
        ),
        Reader("kept tensors", files_of(_keep), _load_kept),
        Reader("weights entry", files_of(_entry), _entry),
        Reader("weights index", files_of(_indexed), lambda folder: resolve("m", "path", path=folder)),
        Reader("model", model, _load, tuple(name for name in MODEL_FILES if name in model)),
    ]


def _keep(folder: Path) -> None:
    tensors = {"matrix": torch.arange(6.0).view(2, 3), "mean": torch.zeros(3)}
    store.save(folder / "map.safetensors", tensors, {"kind": "fuzz", "words": "ab", "seed": 0})


def _load_kept(folder: Path) -> None:
    shapes = {"matrix": store.Expected((2, 3), torch.float32), "mean": store.Expected((3,), torch.float32)}
    store.load(folder / "map.safetensors", "fuzz", lambda inputs: shapes)


def _entry(folder: Path) -> None:
    """A damaged entry is built again, so nothing at all may come out."""

    def build(empty: Path) -> None:
        (empty / "vocab.txt").write_bytes(b"words")
        (empty / "config.json").write_text("{}")

    entry = cached(folder, "pack", SPEC, "fuzz", build)
    assert (entry.directory / "vocab.txt").read_bytes() == b"words"


def _indexed(folder: Path) -> None:
    names = ["model-1.safetensors", "model-2.safetensors"]
    for name in names:
        save_file({name[6]: torch.zeros(1)}, folder / name)
    index = {"metadata": {"total_size": 8}, "weight_map": {name[6]: name for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")


def _load(folder: Path) -> None:
    CausalLM.load("m", "path", dtype="float32", path=folder)
