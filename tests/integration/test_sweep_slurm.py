"""Sweeps on a real Slurm that is started here, with accounting and without."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from drills import drill, records, result, states, the_sweep

from fuse_repro.cli import main
from fuse_repro.sweeps.slurm_queue import cause_of_death, living, read_jobs

FAULTS = ("none", "exit", "kill", "scancel", "time_limit", "requeue")
SLURM = ["hydra/launcher=slurm", "hydra.launcher.poll_s=0.5", "runner.once=true"]


@pytest.fixture(scope="module", params=[False, True], ids=["without accounting", "with accounting"])
def accounting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[bool]:
    """A running Slurm; the value is whether it has accounting."""
    if reason := slurm_cluster.missing(request.param):
        pytest.skip(reason)
    tests = str(Path(__file__).parents[1])
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm"), request.param) as environment:
        own = environment | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in own.items():
                patch.setenv(name, value)
            yield request.param


def test_killed_jobs_are_failed_results_and_requeued_ones_go_on(
    accounting: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    faults = FAULTS if not accounting else ("none", "kill", "scancel")
    command = drill(tmp_path / "slurm", f"runner.fault={','.join(faults)}", *SLURM)
    assert main(command) == 1
    well = {"none", "time_limit", "requeue"}
    expected = {fault: "done" if fault in well else "failed" for fault in faults}
    assert states(tmp_path / "slurm") == expected, capsys.readouterr().err
    errors = {
        p.overrides["runner.fault"]: str(p.state.error) for p in the_sweep(tmp_path / "slurm").points.values()
    }
    assert "ended as FAILED (exit code 137:0)" in errors["kill"]
    assert "ended as CANCELLED" in errors["scancel"]

    assert main(command) == 0
    assert main(drill(tmp_path / "serial", "runner.at=-1", "hydra.launcher.in_process=true")) == 0
    (undisturbed,) = records(tmp_path / "serial").values()
    assert list(records(tmp_path / "slurm").values()) == [undisturbed] * len(faults)


def test_not_waiting_and_looking_later(
    accounting: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if accounting:
        pytest.skip("the same without accounting")
    command = drill(tmp_path, "runner.fault=none,kill", "hydra.sweeper.max_batch_size=1", *SLURM)
    assert main([*command, "hydra.launcher.wait=false", "hydra.launcher.gpus_per_node=1"]) == 0
    directory = the_sweep(tmp_path).directory
    assert len(read_jobs(directory)) == 2, "both batches were submitted"
    assert main(command) in (0, 1)
    assert "0 jobs submitted, 1 live already" in capsys.readouterr().err
    deadline = time.monotonic() + 60
    while living(read_jobs(directory).values()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert main(["status", str(directory), "--once"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "1 done, 0 running, 1 failed, 0 left" in shown or "2 done" in shown
    assert main(command) == 0
    assert result(tmp_path, "runner.fault", "none")["environment"] | {"pid": 0} == {
        "pid": 0,
        "gpu": "0",
        "threads": 1,
    }


def test_options_that_slurm_refuses(
    accounting: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(drill(tmp_path, "seed=0,1", *SLURM, "hydra.launcher.partition=nowhere")) == 2
    printed = capsys.readouterr().err
    assert "Slurm refused the jobs" in printed
    assert "invalid partition specified: nowhere" in printed
    assert "Traceback" not in printed
    assert main(drill(tmp_path, "seed=0,1", *SLURM, "+hydra.launcher.colour=red")) == 2
    assert "Unavailable parameter(s): ['colour']" in capsys.readouterr().err


def test_a_job_that_slurm_has_forgotten(accounting: bool) -> None:
    assert living(["999999"]) == {}
    assert cause_of_death("999999") == "no longer known"


def test_a_controller_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accounting: bool
) -> None:
    text = Path(os.environ["SLURM_CONF"]).read_text().replace("SlurmctldPort=", "SlurmctldPort=1\n#")
    (tmp_path / "slurm.conf").write_text(text + "\nMessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert living(["1"]) is None


def test_more_points_than_an_array_may_hold(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := slurm_cluster.missing(accounting=False):
        pytest.skip(reason)
    with slurm_cluster.running(tmp_path / "slurm", accounting=False, max_array_size=2) as environment:
        tests = str(Path(__file__).parents[1])
        for name, value in (environment | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}).items():
            monkeypatch.setenv(name, value)
        command = drill(tmp_path / "sweep", "seed=range(0,5)", "runner.at=-1", *SLURM)
        assert main([*command, "hydra.launcher.array_parallelism=2"]) == 0
        assert "5 points in 3 arrays: the cluster's MaxArraySize is 2" in capsys.readouterr().err
    assert set(states(tmp_path / "sweep", "seed").values()) == {"done"}
    jobs = read_jobs(the_sweep(tmp_path / "sweep").directory)
    assert len({job.partition("_")[0] for job in jobs.values()}) == 3
