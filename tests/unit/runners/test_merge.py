"""Runs of shards become one result, or one line says why they do not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shard_runner
from omegaconf import OmegaConf

from fuse_repro.cli import main
from fuse_repro.data.paper_values import CELLS
from fuse_repro.errors import UsageError
from fuse_repro.report.paper import collect
from fuse_repro.runs.directory import RunDirectory, read_json
from fuse_repro.runs.state import run_state
from fuse_repro.runs.sweep_file import read_sweep
from fuse_repro.sweeps.merge import merge

TEXTS = [
    "one",
    "two words",
    "and three words",
    "a longer text",
    "the longest text of all",
    "six",
    "seven texts",
]
CONFIG: dict[str, Any] = {
    "name": "lengths",
    "seed": 0,
    "runner": {"_target_": "shard_runner.run", "failing": [], "deadly": None},
    "dataset": {"shards": 1, "shard": 0, "_target_": "fuse_repro.data.texts.TextData", "texts": TEXTS},
    "logger": {"_target_": "shard_runner.listeners"},
}


def run(folder: Path, shards: int = 1, shard: int = 0, failing: tuple[str, ...] = (), **changes: Any) -> Path:
    """A run of the shard, in its directory; it fails where all of its items do, as by the command."""
    data = CONFIG["dataset"] | {"shards": shards, "shard": shard} | changes.pop("dataset", {})
    config = CONFIG | {"runner": CONFIG["runner"] | {"failing": list(failing)}, "dataset": data} | changes
    directory = RunDirectory(folder, config)
    try:
        directory.finish(shard_runner.run(OmegaConf.create(config), directory))
    except UsageError as error:
        directory.fail(error)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards that are done, and what one run finds in `whole`."""
    run(tmp_path / "whole")
    for shard in range(3):
        run(tmp_path / "all" / f"s{shard}", 3, shard)
    shard_runner.EVENTS.clear()
    return tmp_path / "all"


def same(one: Path, other: Path) -> bool:
    results = [read_json(path / "results.json") for path in (one, other)]
    for found in results:
        del found["timing"]
    written = [(path / "records.jsonl").read_bytes() for path in (one, other)]
    return json.dumps(results[0]) == json.dumps(results[1]) and written[0] == written[1]


def test_the_whole_is_what_one_run_finds(folder: Path) -> None:
    (merged,) = merge(folder)
    assert (merged.missing, merged.failed, merged.changed, merged.total) == ((), 0, True, 7)
    assert same(merged.path, folder.parent / "whole")
    assert run_state(merged.path).state == "done"
    assert read_json(merged.path / "results.json")["timing"] == {"seconds": 4.5}
    manifest = read_json(merged.path / "manifest.json")
    assert manifest["config_hash"] == read_json(folder.parent / "whole" / "manifest.json")["config_hash"]
    assert [row["directory"] for row in manifest["merged"]] == ["s0", "s1", "s2"]
    assert shard_runner.EVENTS == [("opened", "merged"), ("finished", "merged")]
    assert "3 shards" in (merged.path / "report.html").read_text()


def test_a_second_merge_changes_nothing(folder: Path) -> None:
    (first,) = merge(folder)
    before = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    (second,) = merge(folder)
    assert not second.changed
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == before


def test_a_missing_shard_is_named_and_can_be_added_later(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(folder / "s1", folder.parent / "s1")
    assert main(["merge", str(folder)]) == 3
    printed = capsys.readouterr().err
    assert "shard 1 is missing: there is no run of it" in printed
    assert "2 of 3 shards, 7 items in all; incomplete" in printed
    results = read_json(folder / "merged" / "results.json")
    lacking = len(read_json(folder.parent / "s1" / "manifest.json")["shard"]["items"])
    assert results["missing"] == {
        "items": lacking,
        "shards": [1],
        "reasons": ["shard 1 is missing: there is no run of it"],
    }
    assert len((folder / "merged" / "records.jsonl").read_text().splitlines()) == 2 * (7 - lacking)
    assert run_state(folder / "merged").state == "interrupted"
    assert "there is no run of it." in (folder / "merged" / "report.html").read_text()
    assert shard_runner.EVENTS == [], "loggers are told of a complete result only"
    shutil.move(folder.parent / "s1", folder / "s1")
    assert main(["merge", str(folder)]) == 0
    assert same(folder / "merged", folder.parent / "whole")


def test_what_an_unfinished_shard_has_is_used(folder: Path) -> None:
    lines = (folder / "s2" / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "s2" / "records.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    status = read_json(folder / "s2" / "status.json")
    (folder / "s2" / "status.json").write_text(json.dumps(status | {"state": "running"}))
    (merged,) = merge(folder)
    size = len(lines) // 2
    assert merged.missing == (f"shard 2 is interrupted: 1 of {size} items are missing",)
    assert len((merged.path / "records.jsonl").read_bytes().splitlines()) == 13


def test_a_complete_result_is_not_replaced_by_an_incomplete_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merge(folder)
    lost = len((folder / "s0" / "records.jsonl").read_text().splitlines())
    shutil.rmtree(folder / "s0")
    assert main(["merge", str(folder)]) == 2
    assert f"merged holds {lost} records that the shards lack now" in capsys.readouterr().err
    assert same(folder / "merged", folder.parent / "whole")
    assert run_state(folder / "merged").state == "done"


def test_failed_items_count_as_in_one_run_even_where_a_whole_shard_failed(tmp_path: Path) -> None:
    names = tuple(read_json(run(tmp_path / "look", 3, 1) / "manifest.json")["shard"]["items"])
    run(tmp_path / "whole", failing=names)
    for shard in range(3):
        run(tmp_path / "all" / f"s{shard}", 3, shard, failing=names)
    assert run_state(tmp_path / "all" / "s1").state == "failed"
    (merged,) = merge(tmp_path / "all")
    assert (merged.missing, merged.failed) == ((), 2 * len(names))
    assert same(merged.path, tmp_path / "whole")


def test_an_item_that_was_tried_again_counts_once(folder: Path) -> None:
    first = next(iter(read_json(folder / "s0" / "manifest.json")["shard"]["items"]))
    shutil.rmtree(folder / "s0")
    run(folder / "s0", 3, 0, failing=(first,))
    config = read_json(folder / "s0" / "manifest.json")["config"]
    again = RunDirectory(folder / "s0", config)  # the same run, in which the item fails no more
    healed = OmegaConf.create(config | {"runner": CONFIG["runner"]})
    again.finish(shard_runner.run(healed, again))
    assert len((folder / "s0" / "records.jsonl").read_text().splitlines()) > 2 * 2
    with pytest.raises(UsageError, match=r"runner\.failing"):
        merge(folder)
    for shard in (1, 2):
        shutil.rmtree(folder / f"s{shard}")
        run(folder / f"s{shard}", 3, shard, failing=(first,))
    (merged,) = merge(folder)
    assert same(merged.path, folder.parent / "whole")


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def _repeat(folder: Path) -> None:
    _append(
        folder / "s1" / "records.jsonl", (folder / "s1" / "records.jsonl").read_text().splitlines()[0] + "\n"
    )


def _edit(folder: Path) -> None:
    path = folder / "s1" / "records.jsonl"
    path.write_text(path.read_text().replace('"value": 0', '"value": 9').replace('"value": 1', '"value": 8'))


def _drop(folder: Path) -> None:
    path = folder / "s1" / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def _foreign(folder: Path) -> None:
    """A record of another shard, in one that is not done."""
    line = (folder / "s0" / "records.jsonl").read_text().splitlines()[0]
    _append(folder / "s1" / "records.jsonl", line + "\n")
    status = read_json(folder / "s1" / "status.json")
    (folder / "s1" / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))


def _odd(folder: Path) -> None:
    """A record without what every record has, in a shard that is not done."""
    path = folder / "s1" / "records.jsonl"
    path.write_text(path.read_text().replace('"value"', '"length"'))
    status = read_json(folder / "s1" / "status.json")
    (folder / "s1" / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))


def _manifest(folder: Path, change: Callable[[dict], None]) -> None:
    manifest = read_json(folder / "s1" / "manifest.json")
    change(manifest)
    (folder / "s1" / "manifest.json").write_text(json.dumps(manifest))


def _again(folder: Path, **changes: Any) -> None:
    shutil.rmtree(folder / "s1")
    run(folder / "s1", 3, 1, **changes)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_repeat, "s1/records.jsonl was changed after the run had ended"),
        (_edit, "s1/records.jsonl was changed after the run had ended"),
        (_drop, "s1/records.jsonl was changed after the run had ended"),
        (_odd, "a shard was changed by hand, or written by another version (KeyError: 'value')"),
        (_foreign, "which is no item of shard 1 of 3"),
        (lambda f: _append(f / "s1" / "records.jsonl", "{]\n"), "s1/records.jsonl is damaged at line"),
        (lambda f: _manifest(f, lambda m: m["config"].update(seed=1)), "does not fit its own config_hash"),
        (lambda f: _manifest(f, lambda m: m["shard"].update(shard=2)), "config and shard do not fit"),
        (lambda f: _manifest(f, lambda m: m["shard"].pop("items")), "does not fit its own config_hash"),
        (lambda f: _manifest(f, lambda m: m.update(weights={"lm": {}})), "were run with different weights"),
        (lambda f: _again(f, seed=3), "are shards of different runs: seed is 0 and 3"),
        (lambda f: _again(f, dataset={"shards": 4}), "dataset.shards is 3 and 4"),
        (lambda f: shutil.copytree(f / "s1", f / "copy"), "are both shard 1 of 3"),
        (lambda f: [shutil.rmtree(f / f"s{shard}") for shard in range(3)], "has no shard"),
    ],
)
def test_what_cannot_be_merged_is_said_in_one_line(
    harm: Callable[[Path], None], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(folder)
    assert main(["merge", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.startswith("fuse-repro merge: ")
    assert not (folder / "merged").exists()


def test_shards_of_data_that_has_changed(folder: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    for shard in range(2):
        texts.write_text("\n".join(TEXTS[: 5 + shard]))
        run(tmp_path / "moving" / f"s{shard}", 2, shard, dataset={"texts": None, "path": str(texts)})
    with pytest.raises(UsageError, match="shards of different data: 5 and 6 items"):
        merge(tmp_path / "moving")
    texts.write_text("\n".join(TEXTS))
    config = read_json(tmp_path / "moving" / "s1" / "manifest.json")["config"]
    again = RunDirectory(tmp_path / "moving" / "s1", config)
    with pytest.raises(UsageError, match="a data set that had other items when it was begun"):
        shard_runner.run(OmegaConf.create(config), again)


def test_a_run_that_is_whole_says_nothing_of_shards(folder: Path) -> None:
    whole = folder.parent / "whole"
    assert "shard" not in read_json(whole / "manifest.json")
    assert "shard" not in read_json(whole / "results.json")
    assert read_json(folder / "s1" / "results.json")["shard"]["shards"] == 3


def test_the_papers_are_compared_with_the_whole_and_with_no_shard(tmp_path: Path) -> None:
    cell = next(iter(CELLS))
    for shard in range(2):
        run(tmp_path / f"s{shard}", 2, shard, paper_cell=cell)
    assert collect([tmp_path]) == {}
    merge(tmp_path)
    assert {name: len(found) for name, found in collect([tmp_path]).items()} == {cell: 1}


def test_the_merged_result_is_no_point_of_a_damaged_sweep(folder: Path) -> None:
    merge(folder)
    (folder / "sweep.json").write_text("{")
    assert sorted(read_sweep(folder).points) == ["s0", "s1", "s2"]
