"""An observer is told everything in order, and never stops a run."""

from pathlib import Path
from typing import Any

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.loggers import WandbSettings, wandb_loggers
from fuse_repro.runs.directory import RunDirectory


class Listener:
    """Writes down what it is told; raises at one of the events."""

    def __init__(self, raises: str | None = None) -> None:
        self.heard: list[str] = []
        self.raises = raises

    def __getattr__(self, event: str) -> Any:
        def hear(*_: Any) -> None:
            self.heard.append(event)
            if event == self.raises:
                raise RuntimeError("no more\nmemory")

        return hear


def test_everything_is_told_in_order(tmp_path: Path) -> None:
    run, listener = RunDirectory(tmp_path, {"name": "x"}), Listener()
    run.observers.add(listener)
    run.open(device="cpu", weights={})
    run.append({"id": "a"})
    run.observers.series("tuning/a", 0, {"loss": 1.0})
    run.finish({})
    run.observers.close()
    assert listener.heard == ["opened", "record", "series", "finished", "close"]
    run.observers.record({})
    assert listener.heard[-1] == "close"


def test_failed_and_interrupted_runs_are_told(tmp_path: Path) -> None:
    for place, end in enumerate(("fail", "interrupt")):
        run, listener = RunDirectory(tmp_path / str(place), {"name": "x"}), Listener()
        run.observers.add(listener)
        run.open(device="cpu", weights={})
        getattr(run, end)(KeyboardInterrupt())
        run.observers.close()
        assert listener.heard == ["opened", "failed", "close"]


@pytest.mark.parametrize("event", ["opened", "record", "finished"])
def test_an_observer_that_raises_is_dropped_and_the_run_goes_on(
    event: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, broken, other = RunDirectory(tmp_path, {"name": "x"}), Listener(event), Listener()
    run.observers.add(broken)
    run.observers.add(other)
    run.open(device="cpu", weights={})
    run.append({"id": "a"})
    run.append({"id": "b"})
    run.finish({})
    assert other.heard == ["opened", "record", "record", "finished"]
    assert broken.heard[-1] == event
    assert broken.heard.count(event) == 1
    assert capsys.readouterr().err == (
        "fuse-repro: Listener stopped, the run goes on: RuntimeError: no more memory\n"
    )
    assert [record["id"] for record in run.records()] == ["a", "b"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"mode": "on"}, r"logger.mode='on' is not allowed: one of online, offline, disabled"),
        ({"timeout_s": 0}, r"logger.timeout_s=0 is not allowed"),
        ({"upload_timeout_s": -1}, r"logger.upload_timeout_s=-1"),
        ({"curves": -1}, r"logger.curves=-1"),
        ({"project": ""}, r"logger.project=''"),
    ],
)
def test_settings_of_wandb(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        WandbSettings(**setting)


def test_disabled_is_only_the_table(tmp_path: Path) -> None:
    assert [type(logger).__name__ for logger in wandb_loggers(tmp_path, mode="disabled")] == ["CsvLogger"]
