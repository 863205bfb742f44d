"""One line for what is wrong with a command: a group with a new name, a part that the run lacks, flags that clash."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuse_repro.cli import EXIT_NO_READER, main
from fuse_repro.defaults_lists import entries
from fuse_repro.help import RENAMED, explain, renamed
from fuse_repro.schema import config_folder


@pytest.fixture
def without_old_groups(tmp_path: Path) -> Path:
    """The packaged configs without the groups that have another name now."""
    folder = tmp_path / "conf"
    shutil.copytree(config_folder(), folder, ignore=lambda _, names: set(names) & set(RENAMED))
    return folder


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task=lama", "task is called dataset now: use dataset=lama"),
        ("+task=lama", "task is called dataset now: use dataset=lama"),
        ("task.path=LAMA", "task is called dataset now: use dataset.path=LAMA"),
        ("~task", "task is called dataset now: use dataset=..."),
        ("tuning=optiprompt", "tuning is called optimizer now: use optimizer=optiprompt"),
        ("tuning.m=1,3", "tuning is called optimizer now: use optimizer.m=1,3"),
        ("tuning@x.y=laptop", "tuning is called optimizer now: use optimizer@x.y=laptop"),
    ],
)
def test_a_group_with_a_new_name_is_named(without_old_groups: Path, override: str, said: str) -> None:
    overrides = ["experiment=transfer", override]
    assert explain(ValueError("whatever Hydra says"), without_old_groups, overrides) == said


@pytest.mark.parametrize("override", ["dataset=lama", "runner.task=x", "tasks.m=3", "name=task"])
def test_other_overrides_are_left_to_the_other_explanations(without_old_groups: Path, override: str) -> None:
    assert renamed([override], without_old_groups) is None


def test_a_group_that_is_still_there_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    assert renamed(["task=lama"], tmp_path) is None


def test_the_entries_of_an_experiment_and_of_those_that_it_builds_on() -> None:
    found = entries(config_folder(), "fuse/figure3")
    assert "model@models.sentiment" in found
    assert {"adapter", "optimizer", "model@models.lm"} <= set(found), "of experiment=caption"
    assert len(found) == len(set(found))
    assert entries(config_folder(), "of_nobody") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["experiment=caption", "methods.relative.k=3"],
            "methods.relative.k is no key of this run: experiment=caption has no methods, which is part of experiment=",
        ),
        (["experiment=transfer", "adapter.max_tokens=3"], "experiment=transfer has adapter@methods.relative"),
        (
            ["experiment=transfer", "adapter=fuse"],
            "adapter is no key of this run: experiment=transfer",
        ),
        (["-m", "sweep=anchors", "experiment=demo"], "experiment=demo has no methods"),
        (
            ["experiment=caption", "model@models.judge=gpt2"],
            "experiment=caption has model@models.lm, model@models.vision (+model@models.judge=... adds another)",
        ),
        (["-m", "experiment=demo", "--cfg", "job"], "--cfg shows the config of one run: leave out -m"),
        (["--multirun", "experiment=demo", "--info"], "--info shows the config of one run: leave out -m"),
        (["experiment=demo", "--resolve"], "--resolve goes with --cfg only"),
        (["sweep=seeds", "experiment=demo"], "without -m there is one run: give -m sweep=seeds"),
        (["-m", "sweep=glob(*)", "experiment=demo"], "give the names of grids, as sweep=A or sweep=A,B"),
    ],
)
def test_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", ["--help", "experiment=caption --cfg job", "status nowhere 2>&1"])
def test_a_reader_that_goes_away_is_no_failure(arguments: str) -> None:
    script = f'{{ {sys.executable} -m fuse_repro.cli {arguments}; echo "code $?" >&3; }} 3>&2 | true'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == f"code {EXIT_NO_READER}\n"


def test_a_broken_pipe_of_anything_else_is_not_hidden() -> None:
    program = """
import fuse_repro.cli
def fails(arguments):
    raise BrokenPipeError("of a worker")
fuse_repro.cli._command = fails
fuse_repro.cli.main(["experiment=demo"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "of a worker" in done.stderr
