"""What a run says of its waits where there is no terminal."""

from pathlib import Path

import pytest

from fuse_repro import progress
from fuse_repro.cli import main
from fuse_repro.progress import Heart, Wait


class Listening(Heart):
    """Keeps the waits that there were."""

    def __init__(self) -> None:
        super().__init__(threaded=False)
        self.ended: dict[str, Wait] = {}

    def end(self, wait: Wait) -> None:
        super().end(wait)
        self.ended[wait.what] = wait


@pytest.fixture
def heart(monkeypatch: pytest.MonkeyPatch) -> Listening:
    listening = Listening()
    monkeypatch.setattr(progress, "HEART", listening)
    return listening


def counted(heart: Listening, what: str) -> tuple[float, float | None]:
    return heart.ended[what].done, heart.ended[what].total


def test_a_search_tells_how_many_of_how_many(
    heart: Listening, tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    command = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}"]
    assert main([*command, "trainer.limit_predict_batches=2"]) == 0
    assert counted(heart, "searching") == (2, 2)
    assert "fitting FUSE" in heart.ended or "looking up the vocabulary" in heart.ended


def test_a_transfer_tells_of_tuning_and_evaluation(
    heart: Listening, transfer_overrides: list[str], tmp_path: Path
) -> None:
    command = ["experiment=transfer", *transfer_overrides, f"output_dir={tmp_path / 'run'}"]
    assert main([*command, "runner.baselines=[manual,source_tuned]"]) == 3, "too few anchors"
    cells = len((tmp_path / "run" / "records.jsonl").read_text().splitlines())
    assert counted(heart, "evaluating prompts") == (cells, cells)
    assert counted(heart, "tuning prompts") == (1, 1)
    assert heart.ended["tuning a prompt for sst2"].done == 4
