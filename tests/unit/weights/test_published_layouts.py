"""The configs of the papers' models, on tiny checkpoints laid out and named as the published ones, through a hub."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from omegaconf import OmegaConf
from published_layouts import DECOYS, LAYOUTS, write
from safetensors.torch import load_file, save_file
from torch import Tensor

import fuse_repro
from fuse_repro.errors import UsageError
from fuse_repro.runners.build import build
from fuse_repro.schema import config_folder

ROOT = Path(fuse_repro.__file__).parents[1]
CODE = """
import json, sys
from fuse_repro.weights import resolve
for name, hub in json.loads(sys.argv[1]).items():
    print(resolve(name, "hub", hub=hub).directory)
"""


@dataclass
class Fetched:
    """What a hub with the published layouts gave.

    Attributes:
        wanted: model -> its parameters, by the names that a model of today has them under.
        folders: model -> the entry of the cache that its config's repository became.
        asked: the paths that the hub was asked for.
    """

    wanted: dict[str, dict[str, Tensor]]
    folders: dict[str, Path]
    asked: list[str]


def node(name: str, folder: Path | None = None) -> Any:
    """The config of a model; with its source set to a folder."""
    config = OmegaConf.load(config_folder() / "model" / f"{name}.yaml")
    config = OmegaConf.merge({"cache_dir": None, "dtype": "float32"}, {"model": config})
    if folder is not None:
        config.model.source, config.model.path = "path", str(folder)
    return config.model


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    """Every layout on one hub, at the repository and revision of its config; all fetched by the real client."""
    folder = tmp_path_factory.mktemp("published")
    wanted, nodes = {}, {}
    with HubServer() as hub:
        for name in LAYOUTS:
            wanted[name] = write(name, folder / name)
            nodes[name] = OmegaConf.to_container(node(name).hub)
            files = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
            revision = nodes[name].get("revision") or "main"
            hub.add(nodes[name]["repo_id"], {**files, **dict.fromkeys(DECOYS, b"not ours")}, revision)
        environment = hub.environment(folder / "hub") | {
            "FUSE_REPRO_CACHE": str(folder / "ours"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-c", CODE, json.dumps(nodes)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        folders = dict(zip(LAYOUTS, map(Path, done.stdout.splitlines()), strict=True))
        yield Fetched(wanted, folders, [asked.path for asked in hub.asked])


def test_every_config_of_a_model_on_the_hub_alone_has_a_layout() -> None:
    """SigLIP 2 is newer than the papers, and laid out as transformers saves it today."""
    alone = {
        path.stem
        for path in (config_folder() / "model").glob("*.yaml")
        if OmegaConf.load(path).get("source") == "hub"
    }
    assert alone - {"siglip2_base"} == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_all_weights_arrive_under_their_names_of_today(
    fetched: Fetched, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build(node(name, fetched.folders[name]))
    found = dict(model.model.named_parameters())
    wanted = fetched.wanted[name]
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key
    assert model.tokenizer.encode(["An image of a cat"])[0]
    assert capsys.readouterr().err == ""


def test_pickles_and_other_frameworks_are_left_where_they_are(fetched: Fetched) -> None:
    assert not [path for path in fetched.asked if path.endswith((".bin", ".h5", ".msgpack", ".onnx", ".md"))]


def test_a_vocabulary_without_tokenizer_json_is_read(fetched: Fetched) -> None:
    folder = fetched.folders["twitter_roberta"]
    assert not (folder / "tokenizer.json").exists()
    classifier = build(node("twitter_roberta", folder))
    (ids,) = classifier.tokenizer.encode(["An image of a cat"])
    assert classifier.tokenizer.decode([ids]) == ["An image of a cat"]
    assert (classifier.tokenizer.prefix_ids, classifier.tokenizer.suffix_ids) == ((0,), (2,))
    assert classifier.labels == ("negative", "neutral", "positive")


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("gpt2", "h.1.mlp.c_fc.weight"),
        ("bert_base", "bert.encoder.layer.0.output.LayerNorm.gamma"),
        ("bert_base", "cls.predictions.transform.LayerNorm.beta"),
        ("roberta_base", "lm_head.dense.bias"),
        ("twitter_roberta", "classifier.out_proj.weight"),
        ("clip_vit_b32", "text_projection.weight"),
    ],
)
def test_a_missing_weight_is_one_line(fetched: Fetched, tmp_path: Path, name: str, lost: str) -> None:
    folder = changed(fetched.folders[name], tmp_path, lost=lost)
    with pytest.raises(UsageError, match=r"lacks the weights of .* \(1 such in all\)") as caught:
        build(node(name, folder))
    assert "\n" not in str(caught.value)


def test_an_unused_weight_is_said(
    fetched: Fetched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(fetched.folders["gpt2"], tmp_path, more={"v_head.weight": torch.zeros(2)})
    build(node("gpt2", folder))
    said = capsys.readouterr().err
    assert said.endswith("holds weights that the model does not use: v_head.weight (1 such in all)\n")
    assert said.count("\n") == 1


def changed(folder: Path, target: Path, lost: str = "", more: dict[str, Tensor] | None = None) -> Path:
    """A copy of a checkpoint without one weight, or with others."""
    tensors = load_file(folder / "model.safetensors")
    assert not lost or lost in tensors
    kept = {key: tensor for key, tensor in tensors.items() if key != lost}
    for path in folder.iterdir():
        if path.is_file() and path.suffix in (".json", ".txt") and path.name != "entry.json":
            (target / path.name).write_bytes(path.read_bytes())
    save_file(kept | (more or {}), target / "model.safetensors", metadata={"format": "pt"})
    return target
