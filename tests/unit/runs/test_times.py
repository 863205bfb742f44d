"""What items took stands beside the records, and never in them."""

import json
from pathlib import Path

from fuse_repro.runs.directory import RunDirectory
from fuse_repro.runs.state import mark_killed
from fuse_repro.runs.times import TIMES, item_seconds, note_time, total_time

CONFIG = {"seed": 0, "output_dir": "anywhere"}


def opened(path: Path) -> RunDirectory:
    directory = RunDirectory(path, CONFIG)
    directory.open(device="cpu", weights={})
    return directory


def test_records_are_the_same_bytes_whatever_they_took(tmp_path: Path) -> None:
    for name, seconds in (("quick", 0.25), ("slow", 100.0)):
        run = opened(tmp_path / name)
        run.append({"id": "a", "status": "done"}, seconds)
        run.finish({"timing": {"adapter_seconds": 3.0}})
        found = json.loads((tmp_path / name / "results.json").read_text())
        assert found["timing"] == {"adapter_seconds": 3.0, "device_seconds": seconds}
    first, second = ((tmp_path / name / "records.jsonl").read_bytes() for name in ("quick", "slow"))
    assert first == second


def test_the_last_try_of_an_item_counts_over_all_starts(tmp_path: Path) -> None:
    opened(tmp_path).append({"id": "a"}, 1.0)
    opened(tmp_path).append({"id": "b"}, 2.0)
    opened(tmp_path).append({"id": "a"}, 5.0)
    assert item_seconds(tmp_path) == [5.0, 2.0]
    assert total_time(tmp_path) == {"device_seconds": 7.0}


def test_what_a_kill_or_an_editor_left_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / TIMES).write_bytes(b'{"id": "a", "seconds": 1.0}\n{"id": "b", "sec')
    note_time(tmp_path, "c", 2.0)
    with (tmp_path / TIMES).open("ab") as file:
        file.write(b'{"id": "d", "seconds": "long"}\n{"id": "e", "seconds": -1}\n[]\n{"id": "f"}\n')
        file.write(b'{"id": "g", "seconds": 1' + b"0" * 400 + b"}\n")
    assert item_seconds(tmp_path) == [1.0, 2.0]


def test_a_directory_of_an_earlier_version_has_no_times(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.append({"id": "a", "status": "done"})
    run.finish({"items": {"done": 1}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"items": {"done": 1}}
    assert not (tmp_path / TIMES).exists()


def test_how_many_items_there_are_is_in_the_status_however_the_run_ends(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.expect(7)
    assert json.loads((tmp_path / "status.json").read_text())["items"] == 7
    run.interrupt(KeyboardInterrupt())
    mark_killed(tmp_path, "killed", interrupted=True)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["items"]) == ("failed", 7)
