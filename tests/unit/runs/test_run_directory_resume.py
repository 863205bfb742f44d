"""What a run directory makes of earlier work: failed items again, the last record of an item, one process at a time."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuse_repro.errors import UsageError
from fuse_repro.runs import lock as run_lock
from fuse_repro.runs.directory import RunDirectory, read_records, resume_policy
from fuse_repro.runs.state import failed_records, mark_killed, run_state, wanted

CONFIG = {"seed": 0}
OTHER = textwrap.dedent(
    """
    import sys
    from fuse_repro.runs.directory import RunDirectory
    run = RunDirectory(sys.argv[1], {"seed": 0})
    run.open(device="cpu", weights={})
    print("open", flush=True)
    sys.stdin.readline()
    """
)


def opened(path: Path, **config: object) -> RunDirectory:
    run = RunDirectory(path, CONFIG | config)
    run.open(device="cpu", weights={})
    return run


def status(path: Path) -> dict:
    return json.loads((path / "status.json").read_text())


@pytest.mark.parametrize(
    ("resume", "known"), [("retry_failed", {"a", "c"}), ("skip_done", {"a", "b", "c"}), ("all", set())]
)
def test_which_items_are_computed_again(tmp_path: Path, resume: str, known: set[str]) -> None:
    run = opened(tmp_path, resume=resume)
    for name, state in (("a", "done"), ("b", "failed"), ("c", "done")):
        run.append({"id": name, "status": state})
    assert run.known() == known
    run.append({"id": "b", "status": "done"})
    assert run.known() == (set() if resume == "all" else {"a", "b", "c"})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=12))
@settings(deadline=None, max_examples=25)
def test_the_last_record_of_an_item_counts_at_the_place_of_its_first(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    run = RunDirectory(tmp_path_factory.mktemp("rows"), CONFIG)
    for name, value in rows:
        run.append({"id": name, "value": value})
    expected = [{"id": name, "value": value} for name, value in dict(rows).items()]
    assert run.records() == read_records(run.path) == expected
    lines = (run.path / "records.jsonl").read_text().splitlines() if rows else []
    assert [json.loads(line)["value"] for line in lines] == [value for _, value in rows], "nothing is lost"


def test_a_policy_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="resume='never' is not allowed: one of skip_done, retry_failed, all"
    ):
        RunDirectory(tmp_path, CONFIG | {"resume": "never"})
    assert resume_policy({}) == "retry_failed"


def test_resume_is_no_part_of_the_config_that_must_be_the_same(tmp_path: Path) -> None:
    opened(tmp_path, resume="all")
    opened(tmp_path, resume="skip_done", sweep_dir="elsewhere")


def test_another_process_is_kept_out_until_it_ends(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run_state(tmp_path).state == "running"
    assert not any(wanted(tmp_path, resume) for resume in ("skip_done", "retry_failed", "all"))
    late = RunDirectory(tmp_path, CONFIG)
    with pytest.raises(
        UsageError, match=rf"another process \(pid {other.pid} on .*\) is at work on"
    ) as caught:
        late.open(device="cpu", weights={})
    late.fail(caught.value)
    mark_killed(tmp_path, "not true")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    other.kill()
    other.wait()
    assert status(tmp_path)["state"] == "running", "it could not say anything any more"
    assert run_state(tmp_path).state == "interrupted"
    assert wanted(tmp_path, "skip_done")
    (tmp_path / ".status.json.1.tmp").write_text("half")
    opened(tmp_path).finish({})
    assert run_state(tmp_path).state == "done"
    assert {path.name for path in tmp_path.iterdir()} == {
        "manifest.json", "status.json", "records.jsonl", "results.json",
    }  # fmt: skip


def test_the_lock_is_let_go_at_every_end(tmp_path: Path) -> None:
    for name, end in {
        "done": lambda run: run.finish({}),
        "failed": lambda run: run.fail(RuntimeError("x")),
        "interrupted": lambda run: run.interrupt(KeyboardInterrupt()),
    }.items():
        run = opened(tmp_path / name)
        assert run_lock.is_held(run.path / "records.jsonl")
        end(run)
        assert not run_lock.is_held(run.path / "records.jsonl")
        assert run_state(run.path).state == name


def test_a_killed_run_says_what_it_died_of(tmp_path: Path) -> None:
    mark_killed(tmp_path / "never_begun", "killed by SIGKILL", "the last lines")
    assert status(tmp_path / "never_begun") | {"updated": ""} == {
        "state": "failed",
        "error": "killed by SIGKILL",
        "traceback": "the last lines",
        "updated": "",
        "pid": os.getpid(),
        "host": status(tmp_path / "never_begun")["host"],
    }
    opened(tmp_path / "done").finish({})
    opened(tmp_path / "stopped").interrupt(KeyboardInterrupt())
    for name, state in (("done", "done"), ("stopped", "interrupted")):
        mark_killed(tmp_path / name, "killed")
        assert run_state(tmp_path / name).state == state
    mark_killed(tmp_path / "stopped", "killed", interrupted=True)
    assert run_state(tmp_path / "stopped").state == "failed"


def test_what_is_wanted_of_a_run_that_ended(tmp_path: Path) -> None:
    assert all(wanted(tmp_path / "new", resume) for resume in ("skip_done", "retry_failed", "all"))
    run = opened(tmp_path)
    run.append({"id": "a", "status": "done"})
    run.finish({})
    assert [wanted(tmp_path, resume) for resume in ("skip_done", "retry_failed", "all")] == [
        False,
        False,
        True,
    ]
    opened(tmp_path).append({"id": "b", "status": "failed"})
    run.finish({})
    assert failed_records(tmp_path) == 1
    assert [wanted(tmp_path, resume) for resume in ("skip_done", "retry_failed", "all")] == [
        False,
        True,
        True,
    ]


def test_a_failure_before_the_models_are_loaded_is_told_of_a_run_that_was_killed(tmp_path: Path) -> None:
    opened(tmp_path)
    run_lock.release(tmp_path / "records.jsonl")
    RunDirectory(tmp_path, CONFIG).fail(UsageError("the weights are gone"))
    assert status(tmp_path)["error"] == "the weights are gone"
    opened(tmp_path).finish({})
    RunDirectory(tmp_path, CONFIG).fail(UsageError("the weights are gone"))
    assert status(tmp_path)["state"] == "done", "what is done stays done"


def test_the_same_failure_is_written_once(tmp_path: Path) -> None:
    failure = {"id": "a", "status": "failed", "error": "the same"}
    opened(tmp_path).append(failure)
    before = (tmp_path / "records.jsonl").read_bytes()
    again = opened(tmp_path)
    assert again.known() == set()
    again.append(failure)
    assert (tmp_path / "records.jsonl").read_bytes() == before
    again.append(failure | {"error": "another"})
    assert [record["error"] for record in again.records()] == ["another"]
