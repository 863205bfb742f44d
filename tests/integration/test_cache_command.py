"""`fuse-repro cache`: what is listed, what is found damaged, what goes; and `weights.verify` of a whole run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fuse_repro.cli import main
from fuse_repro.runs.provenance import config_hash
from fuse_repro.storage.locks import FileLock
from fuse_repro.weights.cache import cached
from fuse_repro.weights.listing import LISTING
from fuse_repro.weights.verify import STAMP, current_mode


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of two entries, one of them damaged, beside what else lies in a cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FUSE_REPRO_CACHE", str(folder))
    for name in ("good", "bad"):
        cached(folder, name, {"name": name}, f"hub org/{name}", lambda target: write(target, b"0123456789"))
    (folder / "adapters").mkdir()
    (folder / "adapters" / "fuse-1.safetensors").write_bytes(b"fitted")
    (folder / "mine-0123456789ab").mkdir()  # called like an entry, and none
    return folder


def write(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)


def entry(cache: Path, name: str) -> Path:
    return next(cache.glob(f"{name}-*"))


def damage(path: Path, *, trace: bool = True) -> None:
    """Other bytes, as many as there were; with or without a trace in the file's time."""
    state = path.stat()
    path.write_bytes(b"?" * state.st_size)
    if not trace:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["cache", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_list_names_size_source_and_day(capsys, cache):
    code, out, err = run(capsys, "list")
    assert (code, err) == (0, "")
    for word in (
        entry(cache, "good").name,
        "hub org/good",
        "hub org/bad",
        time.strftime("%Y-%m-%d"),
        "2 entries",
    ):
        assert word in out
    assert "mine" not in out
    assert "adapters" not in out


def test_verify_names_the_damaged_entry(capsys, cache):
    assert run(capsys, "verify")[0] == 0
    damage(entry(cache, "bad") / "model.safetensors", trace=False)
    code, out, err = run(capsys, "verify")
    assert code == 1
    assert "intact" in out
    assert err.count("\n") == 1
    assert f"{entry(cache, 'bad')} is damaged: the sha256 of 'model.safetensors'" in err


@pytest.mark.parametrize("listing", ["[]", "3", "{}", '{"source": "\\u001b[31m", "files": {"../x": {}}}'])
def test_a_listing_of_another_form_is_listed_as_damage(capsys, cache, listing):
    (entry(cache, "bad") / LISTING).write_text(listing)
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "damaged" in out
    assert "\x1b" not in out
    assert run(capsys, "verify")[0] == 1


def test_a_source_with_control_signs_is_shown_as_text(capsys, cache):
    listing = json.loads((entry(cache, "bad") / LISTING).read_text())
    (entry(cache, "bad") / LISTING).write_text(json.dumps({**listing, "source": "[/x]\x1b[31m\u202e"}))
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert r"[/x]\x1b[31m\u202e" in out


def test_prune_removes_what_is_damaged_or_left_and_nothing_else(capsys, cache):
    bad, good = entry(cache, "bad"), entry(cache, "good")
    damage(bad / "model.safetensors")
    building = cache / f".{good.name}.building"
    building.mkdir()
    write(building, b"half")
    (good / f"{STAMP}.1.tmp").write_text("torn")
    before = sorted(cache.rglob("*"))
    code, said, _ = run(capsys, "prune", "--dry-run")
    assert code == 0
    assert f"would remove {bad.name}" in said
    left = sorted(cache.rglob("*"))
    assert left == [path for path in before if path != bad / STAMP]  # it is known to be damaged now
    code, out, err = run(capsys, "prune")
    assert (code, err) == (0, "")
    for name in (bad.name, building.name, f"{good.name}/{STAMP}.1.tmp"):
        assert f"removed {name} (" in out
    assert out.splitlines()[-1].endswith("bytes")
    assert sorted(path.name for path in cache.iterdir()) == ["adapters", good.name, "mine-0123456789ab"]
    assert sorted(path.name for path in good.iterdir()) == [STAMP, LISTING, "model.safetensors"]
    assert (cache / "adapters" / "fuse-1.safetensors").exists()
    assert run(capsys, "verify")[0] == 0


def test_prune_by_age_and_all(capsys, cache):
    old = entry(cache, "bad")
    os.utime(old / LISTING, times=(0, time.time() - 10 * 86400))
    assert run(capsys, "prune", "--older-than", "11")[0] == 0
    assert old.exists()
    assert "made 10 days ago" in run(capsys, "prune", "--older-than", "9.5")[1]
    assert not old.exists()
    assert run(capsys, "prune", "--all")[0] == 0
    assert sorted(path.name for path in cache.iterdir()) == ["adapters", "mine-0123456789ab"]
    assert run(capsys, "list")[0] == 0


def test_what_another_process_prepares_is_left(capsys, cache):
    good = entry(cache, "good")
    lock = FileLock(cache / f".{good.name}.lock")
    lock.acquire()
    try:
        code, out, _ = run(capsys, "prune", "--all")
    finally:
        lock.release()
    assert code == 0
    assert good.exists()
    assert f"left {good.name}: another process is at work on it" in out


def test_a_cache_that_is_none_is_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for name in ("file", "nothing"):
        code, _, err = run(capsys, "list", "--cache-dir", str(tmp_path / name))
        assert (code, err.count("\n")) == (2, 1)
        assert f"{tmp_path / name}' is not a folder" in err
    monkeypatch.setenv("FUSE_REPRO_CACHE", str(tmp_path / "nothing"))
    code, out, _ = run(capsys, "verify")
    assert (code, out) == (0, f"{tmp_path / 'nothing'}: nothing is cached yet\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "list|verify|prune"),
        (["wipe"], "invalid choice: 'wipe'"),
        (["prune", "--older-than", "-1"], "'-1' is not allowed: a number of days, 0 or more"),
        (["prune", "--older-than", "nan"], "'nan' is not allowed"),
        (["prune", "--older-than", "1", "--all"], "not allowed with argument"),
    ],
)
def test_mistakes_are_explained(capsys, arguments, said):
    with pytest.raises(SystemExit) as caught:
        main(["cache", *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_loads_nothing_heavy(cache):
    program = """
import sys
from fuse_repro.cli import main
assert main(["cache", "verify"]) == 0
heavy = {"torch", "transformers", "pytorch_lightning", "hydra"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", ["always", "changed", "never"])
def test_weights_verify_reaches_the_models_and_is_not_hashed(
    tiny_overrides, photos, tmp_path, monkeypatch, mode
):
    from fuse_repro.models import loading

    seen = []

    def watched(*arguments, **keywords):
        seen.append(current_mode())
        return loaded(*arguments, **keywords)

    loaded = loading.resolve
    monkeypatch.setattr(loading, "resolve", watched)
    overrides = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}"]
    assert main([*overrides, f"weights.verify={mode}"]) == 0
    assert seen
    assert set(seen) == {mode}
    assert current_mode() == "changed"
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"]["weights"] == {"verify": mode}
    without = {key: value for key, value in manifest["config"].items() if key != "weights"}
    assert manifest["config_hash"] == config_hash(without)


def test_an_unknown_way_to_verify_is_one_line(capsys, tiny_overrides, photos, tmp_path):
    overrides = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}"]
    assert main([*overrides, "weights.verify=daily"]) == 1
    printed = capsys.readouterr().err
    assert "weights.verify='daily' is not allowed: one of always, changed, never" in printed
    assert printed.count("\n") == 1
    assert main([*overrides, "weights.verfy=never"]) == 2
    assert "did you mean weights.verify?" in capsys.readouterr().err
