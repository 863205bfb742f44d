"""The whole command on tiny random models, photographs made here, and nothing from the network."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from tiny_models import save_model, tiny_clip, tiny_gpt2, tiny_llama

from fuse_repro.metrics import meteor

EXACT = """#!/bin/sh
case " $* " in *" -stdio "*) exec {java} "$@" -m exact;; esac
exec {java} "$@"
"""


def make_photo(path: Path, colour: str) -> Path:
    image = Image.new("RGB", (48, 40), colour)
    ImageDraw.Draw(image).ellipse((8, 8, 30, 30), fill="white")
    image.save(path)
    return path


@pytest.fixture(scope="session")
def tiny_models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model(tiny_gpt2(), folder / "lm")
    save_model(tiny_clip(), folder / "vision")
    save_model(tiny_llama(), folder / "target")
    return folder


def make_photos(folder: Path) -> Path:
    """Three photographs in a folder `photos`."""
    photos = folder / "photos"
    photos.mkdir()
    for colour in ("red", "green", "blue"):
        make_photo(photos / f"{colour}.png", colour)
    return photos


@pytest.fixture
def quick_meteor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """METEOR that compares whole words only, in every process begun from here: its tables take ten seconds to read."""
    if java := shutil.which("java"):
        instead = tmp_path / "bin" / "java"
        instead.parent.mkdir()
        instead.write_text(EXACT.format(java=java))
        instead.chmod(0o755)
        monkeypatch.setenv("PATH", str(instead.parent), prepend=os.pathsep)
    monkeypatch.setattr(meteor, "_running", [])
    yield
    meteor._stop()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path)


@pytest.fixture
def tiny_overrides(tiny_models_folder: Path, tmp_path: Path) -> list[str]:
    """Everything of a caption run but its data set and its run directory."""
    return caption_overrides(tiny_models_folder, tmp_path / "cache")


def caption_overrides(models: Path, cache: Path) -> list[str]:
    """Everything of a caption run with these tiny models but its data set and its run directory."""
    return [
        "experiment=caption",
        "trainer=cpu",
        "model@models.lm=gpt2",
        "models.lm.source=path",
        f"models.lm.path={models / 'lm'}",
        "model@models.vision=clip_vit_b32",
        "models.vision.source=path",
        f"models.vision.path={models / 'vision'}",
        "corpus.size=2000",
        "optimizer.candidates=8",
        "optimizer.beam=2",
        "optimizer.max_new_tokens=3",
        "optimizer.linearisation.count=4",
        "optimizer.linearisation.joining=2",
        f"cache_dir={cache}",
    ]


@pytest.fixture
def transfer_overrides(tiny_models_folder: Path, tmp_path: Path) -> list[str]:
    """Everything of a prompt transfer but its experiment and its run directory."""
    data = tmp_path / "task"
    data.mkdir()
    for split, words in {
        "train": ("cat", "coffee"),
        "dev": ("table", "dog"),
        "test": ("kite", "train"),
    }.items():
        rows = [
            f"An image of {word} {number}\t{label}" for number in range(4) for label, word in enumerate(words)
        ]
        (data / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return [
        "trainer=cpu",
        "model@models.source=gpt2",
        "models.source.source=path",
        f"models.source.path={tiny_models_folder / 'lm'}",
        "model@models.target=gpt2",
        "models.target.source=path",
        f"models.target.path={tiny_models_folder / 'target'}",
        "models.target.name=tiny_llama",
        "corpus.size=2000",
        "dataset=sst2",
        f"dataset.path={data}",
        "dataset.files={train: train.tsv, dev: dev.tsv, test: test.tsv}",
        "dataset.words=[a,the]",
        "optimizer.max_steps=4",
        "optimizer.m=3",
        f"cache_dir={tmp_path / 'cache'}",
    ]
