"""Inside a Slurm allocation a run is one process as anywhere else: Lightning requeues nothing and keeps nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import pytest
import pytorch_lightning as pl
import slurm_cluster
from omegaconf import OmegaConf

from fuse_repro.errors import UsageError
from fuse_repro.runners.trainer import PREDICT, build_trainer

RUN = "import sys; from fuse_repro.cli import main; sys.exit(main())"
ALLOCATION = {  # what `salloc -n 4` and a batch script with four tasks set
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "captions",
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
CPU = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1, "inference_mode": False}
CPU |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


class Warned(pl.Callback):
    """A cluster's warning, the first time that an item is done."""

    def on_predict_batch_end(self, *arguments: Any) -> None:
        mark = Path(os.environ["WARNED"])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGUSR1)


def run(folder: Path, *arguments: str) -> tuple[int | None, str]:
    """The command in an allocation, in a working directory of its own, with a scontrol that notes its calls.

    Returns:
        Its exit code and what it said.
    """
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name in ("scontrol", "srun"):
        (commands / name).write_text(f'#!/bin/sh\necho "$0 $@" >> {folder}/called\n')
        (commands / name).chmod(0o755)
    (folder / "here").mkdir(exist_ok=True)
    own = ALLOCATION | {"WARNED": str(folder / "warned"), "PATH": f"{commands}:{os.environ['PATH']}"}
    said = folder / "said.txt"
    said.write_text("")
    process = forked.start(arguments, said, folder / "here", **own)
    process.join(300)
    return process.exitcode, said.read_text()


def test_a_warning_ends_a_run_in_order_and_the_same_command_goes_on(
    tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={output}"]
    command.append(f"trainer.callbacks=[{{_target_: {__name__}.Warned}}]")
    code, said = run(tmp_path, *command)
    assert code == 143, said
    assert "interrupted; the same command with output_dir=... goes on" in said
    assert json.loads((output / "status.json").read_text())["state"] == "interrupted"
    assert len((output / "records.jsonl").read_text().splitlines()) == 1
    code, said = run(tmp_path, *command)
    assert code == 0, said
    assert len((output / "records.jsonl").read_text().splitlines()) == 3
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list((tmp_path / "here").iterdir())
    assert not (tmp_path / "called").exists(), "nothing was requeued"


@pytest.mark.parametrize("further", [{}, {"SLURM_NTASKS_PER_NODE": "4"}, {"SLURM_NNODES": "2"}])
def test_an_allocation_of_several_tasks_is_no_error(
    further: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (ALLOCATION | further).items():
        monkeypatch.setenv(name, value)
    built = build_trainer(OmegaConf.create(CPU), PREDICT)
    assert (built.world_size, built.num_nodes, built.global_rank) == (1, 1, 0)


def test_an_environment_of_the_config_is_taken_unless_it_requeues() -> None:
    plugin = {"_target_": "pytorch_lightning.plugins.environments.SLURMEnvironment", "auto_requeue": False}
    built = build_trainer(OmegaConf.create(CPU | {"plugins": [plugin]}), PREDICT)
    assert type(built._accelerator_connector.cluster_environment).__name__ == "SLURMEnvironment"
    requeuing = OmegaConf.create(CPU | {"plugins": [plugin | {"auto_requeue": True}]})
    with pytest.raises(
        UsageError, match=r"trainer\.plugins=.* is not allowed: auto_requeue: false, or leave"
    ):
        build_trainer(requeuing, PREDICT)


def test_a_run_in_a_real_allocation_of_four_tasks(
    tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    if reason := slurm_cluster.missing(accounting=False):
        pytest.skip(reason)
    extra = [f"dataset.path={photos}", "dataset.limit=1", f"output_dir={tmp_path / 'run'}"]
    with slurm_cluster.running(tmp_path / "slurm", accounting=False) as environment:
        done = subprocess.run(
            ["salloc", "-n", "4", "-J", "captions", sys.executable, "-c", RUN, *tiny_overrides, *extra],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"
