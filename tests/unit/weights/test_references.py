"""A weights folder refers to safetensors files below itself, and to nothing else."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fuse_repro.errors import UsageError
from fuse_repro.weights import resolve
from fuse_repro.weights.cache import cached
from fuse_repro.weights.listing import LISTING
from fuse_repro.weights.references import check_references
from fuse_repro.weights.verify import NEVER, verifying

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "m"
    path.mkdir()
    save_file({"a": torch.zeros(2)}, path / "one.safetensors")
    return path


def index(folder: Path, content: object) -> None:
    (folder / INDEX).write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name",
    ["../x.bin", "../x.safetensors", "/x.safetensors", "sub/../../x.safetensors", "x.bin", "", 3, None],
)
def test_an_index_cannot_name_files_elsewhere(folder, name):
    for outside in ("x.bin", "x.safetensors"):
        save_file({"a": torch.zeros(2)}, folder.parent / outside)
    index(folder, {"metadata": {}, "weight_map": {"a": "one.safetensors", "b": name}})
    with pytest.raises(
        UsageError, match=r"index\.json names .* in weight_map: .* inside the folder only"
    ) as caught:
        resolve("m", "path", path=folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [[], 3, "text", {}, {"weight_map": []}, {"weight_map": "one.safetensors"}]
)
def test_an_index_of_another_form_is_one_line(folder, content):
    index(folder, content)
    with pytest.raises(UsageError, match=rf"{INDEX} (holds a|has no object weight_map)"):
        resolve("m", "path", path=folder)


@pytest.mark.parametrize("file", [INDEX, "config.json"])
@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b""])
def test_files_that_are_not_json_are_one_line(folder, file, text):
    (folder / file).write_bytes(text)
    with pytest.raises(UsageError, match=rf"{file} is (nested too deeply|not JSON)") as caught:
        resolve("m", "path", path=folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", ["../x.safetensors", "sub/x.safetensors.index.json", "..", 3, {}])
def test_a_config_cannot_name_weights_elsewhere(folder, named):
    (folder / "config.json").write_text(json.dumps({"transformers_weights": named}))
    with pytest.raises(UsageError, match=r"config\.json names .* in transformers_weights"):
        resolve("m", "path", path=folder)


def test_an_adapter_is_not_put_on_a_model_without_a_word(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds an adapter .* merge it into its model"):
        resolve("m", "path", path=folder)


def test_shards_below_the_folder_are_hashed(folder):
    (folder / "sub").mkdir()
    save_file({"b": torch.ones(2)}, folder / "sub" / "two.safetensors")
    index(folder, {"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "sub/two.safetensors"}})
    entry = resolve("m", "path", path=folder)
    assert sorted(entry.files) == [INDEX, "one.safetensors", "sub/two.safetensors"]


def test_links_out_of_a_local_folder_are_followed_and_hashed(folder):
    """The hub's own snapshots are made of such links."""
    link = folder.parent / "linked"
    link.mkdir()
    (link / "model.safetensors").symlink_to(folder / "one.safetensors")
    before = resolve("m", "path", path=link).files
    save_file({"a": torch.ones(2)}, folder / "one.safetensors")
    assert resolve("m", "path", path=link).files != before


def test_a_cached_folder_is_held_to_the_same(cache):
    def build(folder: Path) -> None:
        save_file({"a": torch.zeros(2)}, folder / "one.safetensors")
        index(folder, {"metadata": {}, "weight_map": {"a": "../one.safetensors"}})

    entry = cached(cache, "x", {}, "a test", build)
    with pytest.raises(UsageError, match="inside the folder only"):
        check_references(entry.directory)


def test_folders_and_dead_links_are_no_files(folder):
    (folder / "x.json").mkdir()
    (folder / "y.safetensors").symlink_to(folder / "nowhere")
    assert list(resolve("m", "path", path=folder).files) == ["one.safetensors"]
    (folder / "one.safetensors").unlink()
    with pytest.raises(UsageError, match=r"lacks \*\.safetensors"):
        resolve("m", "path", path=folder)


def test_a_copy_of_a_cached_folder_has_to_be_as_its_listing_says(folder, cache):
    def build(target: Path) -> None:
        save_file({"a": torch.zeros(2)}, target / "model.safetensors")

    copy = cached(cache, "x", {}, "a test", build).directory.rename(folder.parent / "copy")
    resolve("m", "path", path=copy)
    save_file({"a": torch.ones(2)}, copy / "model.safetensors")
    with pytest.raises(
        UsageError, match=rf"is damaged: the sha256 of model\.safetensors is not that in {LISTING}"
    ):
        resolve("m", "path", path=copy)
    with verifying(NEVER):
        resolve("m", "path", path=copy)
    (copy / LISTING).write_text("[]")  # a file of somebody else
    resolve("m", "path", path=copy)
