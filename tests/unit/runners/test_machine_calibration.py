"""What a machine computes in a second is measured, kept and found again where it fits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fuse_repro.cli import main
from fuse_repro.errors import UsageError
from fuse_repro.runners.costs import calibration
from fuse_repro.runners.costs.calibration import (
    FOLDER,
    Rate,
    checked_device,
    keep,
    known_rate,
    measure,
    rate_of,
)

HERE = torch.device("cpu")
SMALL = {"PRODUCT": {"cpu": 8}, "MODEL": {"cpu": (64, 1, 2, 4)}, "ENOUGH_S": 0.0}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little to compute that nobody waits for it."""
    for name, value in SMALL.items():
        monkeypatch.setattr(calibration, name, value)


class Clock:
    """Every look at it takes a quarter of a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def test_the_first_time_is_not_counted() -> None:
    times: list[int] = []

    def work() -> int:
        times.append(1)
        return 100

    assert rate_of(work, Clock(), enough_s=1.0) == 300 / 1.0
    assert len(times) == 4


def test_a_device_is_measured_and_found_again(small: None, tmp_path: Path) -> None:
    rate = measure(HERE, "float32", Clock())
    assert rate.products == pytest.approx(2 * 8**3 / 0.5 / 1e12)
    assert rate.model > 0
    assert known_rate(tmp_path, HERE, "float32") is None
    path = keep(rate, tmp_path)
    assert path.parent == tmp_path / FOLDER
    assert known_rate(tmp_path, HERE, "float32") == rate
    assert known_rate(tmp_path, HERE, "bfloat16") is None


@pytest.mark.parametrize(
    "change", [{"torch": "1.0"}, {"device": "another"}, {"model": 0.0}, {"colour": "red"}, None]
)
def test_what_does_not_fit_or_is_damaged_is_not_used(
    change: dict[str, object] | None, small: None, tmp_path: Path
) -> None:
    rate = measure(HERE, "float32", Clock())
    path = keep(rate, tmp_path)
    found = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps(found | change))
    assert known_rate(tmp_path, HERE, "float32") is None


def test_other_threads_are_another_machine(small: None, tmp_path: Path) -> None:
    rate = measure(HERE, "float32", Clock())
    keep(replace(rate, threads=rate.threads + 1), tmp_path)
    assert known_rate(tmp_path, HERE, "float32") is None


def test_the_command_says_and_keeps_what_it_found(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--device", "cpu", "--cache-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "matrix products: " in said
    assert "dry_run=true counts with this" in said
    (file,) = (tmp_path / FOLDER).iterdir()
    assert Rate(**json.loads(file.read_text())).torch == torch.__version__
    assert str(file) in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "tpu"], "--device='tpu' is not allowed: auto, cpu, cuda, or cuda:N"),
        (["--dtype", "int8"], "--dtype='int8' is not allowed: one of float32, bfloat16, float16"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *arguments, "--cache-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["calibrate", "--device", "cuda"]) == 2
    printed = capsys.readouterr().err
    assert "--device='cuda' is not allowed: this machine or torch build lacks CUDA: use cpu" in printed
    assert printed.count("\n") == 1
    assert checked_device("auto") == HERE
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match=r"--device='cuda:2' is not allowed: there are 2 GPUs"):
        checked_device("cuda:2")


@pytest.mark.gpu
def test_a_gpu_is_measured_and_named(tmp_path: Path) -> None:
    device = checked_device("cuda")
    rate = measure(device, "bfloat16")
    assert rate.device == torch.cuda.get_device_name(device)
    assert rate.threads == 0
    assert 0 < rate.model < 2 * rate.products
    keep(rate, tmp_path)
    assert known_rate(tmp_path, device, "bfloat16") == rate


def test_a_dry_run_counts_with_what_was_measured(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    command = ["experiment=invert", "dry_run=true", "trainer=cpu", f"cache_dir={tmp_path / 'cache'}"]
    command.append("dataset.texts=[a cat]")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "GPU hours at 10 x 10^12 operations per second (assumed; fuse-repro calibrate measures" in said
    rate = replace(measure(HERE, "float32", Clock()), model=0.5)
    keep(rate, tmp_path / "cache")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert (
        f"CPU hours at 0.5 x 10^12 operations per second (measured by fuse-repro calibrate: {rate})" in said
    )
    assert main([*command, "dry_run_tflops=2"]) == 0
    assert "CPU hours at 2 x 10^12 operations per second (dry_run_tflops)" in capsys.readouterr().out
    assert main([*command, "dtype=bfloat16"]) == 0
    assert "(assumed; fuse-repro calibrate" in capsys.readouterr().out
