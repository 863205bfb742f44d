"""Kept tensors: what is damaged in whatever way is recognised when it is read, said once, and made again."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fuse_repro.errors import UsageError
from fuse_repro.storage.tensors import Expected, cache_path, kept, load, save, write

INPUTS = {"kind": "demo", "format": 1, "sizes": (2, 3)}
EXPECT = {
    r"map_\d+": Expected((2, None)),
    "half": Expected((3,), torch.bfloat16),
    "none": Expected((0, 3)),
}

NOT_THERE = torch.zeros(0)


def made() -> dict[str, Tensor]:
    return {
        "map_1": torch.arange(6.0).reshape(2, 3),
        "map_2": torch.ones(2, 1),
        "half": torch.full((3,), 0.5, dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
    }


def refuse() -> dict[str, Tensor]:
    raise AssertionError("made again")


def as_written(path: Path, **changed: Tensor) -> None:
    """Write other tensors with the metadata of an intact file, without its checksum, as earlier versions did."""
    metadata = {"inputs": json.dumps(INPUTS)}
    save_file(
        {name: tensor for name, tensor in (made() | changed).items() if tensor is not NOT_THERE},
        path,
        metadata,
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), ""),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-2]), ""),
    "cut header": (lambda path: path.write_bytes(path.read_bytes()[:40]), ""),
    "garbage": (lambda path: path.write_bytes(bytes(range(256)) * 8), ""),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), ""),
    "one bit": (flip, "checksum"),
    "no metadata": (lambda path: save_file(made(), path), "does not say what it was made from"),
    "odd metadata": (lambda path: save_file(made(), path, {"inputs": "[" * 100_000}), "does not say"),
    "metadata of a list": (lambda path: save_file(made(), path, {"inputs": "[]"}), "does not say"),
    "another kind": (
        lambda path: save(path, made(), INPUTS | {"kind": "other", "format": 2}),
        "made from another format, kind",
    ),
    "shape": (lambda path: as_written(path, map_1=torch.ones(3, 2)), r"shape \[3, 2\], not \[2, any\]"),
    "no column": (lambda path: as_written(path, map_1=torch.ones(2, 0)), r"shape \[2, 0\]"),
    "axes": (lambda path: as_written(path, map_1=torch.ones(2)), r"shape \[2\], not"),
    "dtype": (lambda path: as_written(path, half=torch.ones(3)), "float32, not torch.bfloat16"),
    "nan": (
        lambda path: as_written(path, map_2=torch.full((2, 1), torch.nan)),
        "map_2 holds values that are not fin",
    ),
    "inf": (lambda path: as_written(path, map_2=torch.full((2, 1), torch.inf)), "not finite"),
    "missing": (lambda path: as_written(path, half=NOT_THERE), "holds no half"),
    "more": (lambda path: as_written(path, map_x=torch.ones(1)), "holds 'map_x'"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_said_once_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], said: str
) -> None:
    kept(tmp_path, INPUTS, EXPECT, made)
    path = cache_path(tmp_path, INPUTS)
    whole = path.read_bytes()
    assert capsys.readouterr().err == ""
    damage(path)
    again = kept(tmp_path, INPUTS, EXPECT, made)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith(f"fuse-repro: {path} is damaged (")
    assert re.search(said, printed), printed
    assert path.read_bytes() == whole
    found = kept(tmp_path, INPUTS, EXPECT, refuse)
    assert capsys.readouterr().err == ""
    assert all(
        torch.equal(found[name], tensor) and torch.equal(again[name], tensor)
        for name, tensor in made().items()
    )


@pytest.mark.parametrize("damage", [damage for damage, _ in DAMAGE.values()], ids=DAMAGE)
def test_a_damaged_file_that_the_user_names_is_one_line(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    path = tmp_path / "own.safetensors"
    save(path, made(), INPUTS)
    assert load(path, "demo", lambda inputs: EXPECT)[1] == json.loads(json.dumps(INPUTS))
    damage(path)
    with pytest.raises(
        UsageError, match=r"is not an adapter saved by fuse_repro \(.*\): fit it again"
    ) as caught:
        load(path, "demo", lambda inputs: EXPECT)
    assert "\n" not in str(caught.value)


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = cache_path(tmp_path, INPUTS)
    path.parent.mkdir()
    as_written(path)
    kept(tmp_path, INPUTS, EXPECT, refuse)


def test_what_is_not_finite_is_given_and_not_kept(tmp_path: Path) -> None:
    """A fit that diverged is the fit's, not the file's fault: it must not be called damage when it is read."""
    result = kept(tmp_path, INPUTS, EXPECT, lambda: made() | {"map_2": torch.full((2, 1), torch.nan)})
    assert result["map_2"].isnan().all()
    assert not cache_path(tmp_path, INPUTS).exists()


def test_a_cache_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UsageError, match=r"; choose a folder with cache_dir=\.\.\. where no file is in the way"
    ):
        kept(tmp_path / "file", INPUTS, EXPECT, refuse)


def test_any_reader_of_safetensors_reads_what_is_kept(tmp_path: Path) -> None:
    kept(tmp_path, INPUTS, EXPECT, made)
    assert torch.equal(load_file(cache_path(tmp_path, INPUTS))["map_1"], made()["map_1"])


def test_a_file_without_metadata_has_the_bytes_of_safetensors_own(tmp_path: Path) -> None:
    """The sha256 of converted weights, which stand in manifests, must not change."""
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(4)}
    write(tmp_path / "ours", tensors, {}, "x")
    save_file(tensors, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
