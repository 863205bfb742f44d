"""The photographs of a data set shared out among the jobs of a real Slurm, one of which is killed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from conftest import make_photo

from fuse_repro.cli import main
from fuse_repro.runs.directory import read_json
from fuse_repro.sweeps.sweep import read_sweep

COLOURS = ("red", "green", "blue", "yellow", "orange", "brown", "purple", "pink", "gold")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running Slurm, whose jobs find the tests and this package."""
    if reason := slurm_cluster.missing(False):
        pytest.skip(reason)
    tests = Path(__file__).parents[1]
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm"), False) as environment:
        paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
        own = environment | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in own.items():
                patch.setenv(name, value)
            yield


def test_three_shards_on_slurm_one_of_them_killed_come_to_what_one_run_finds(
    cluster: None,
    quick_meteor: None,
    tiny_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = [{"file": f"{colour}.png", "captions": ["A cat.", "A dog by the river."]} for colour in COLOURS]
    for colour in COLOURS:
        make_photo(folder / f"{colour}.png", colour)
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = [*tiny_overrides, f"dataset.path={folder / 'items.jsonl'}"]
    assert main([*shared, f"output_dir={tmp_path / 'whole'}"]) == 0

    killer = f"{{_target_: shard_faults.KillOnce, item: gold, mark: {tmp_path / 'struck'}}}"
    slurm = ["hydra/launcher=slurm", "hydra.launcher.poll_s=0.5", f"trainer.callbacks=[{killer}]"]
    sweep = ["-m", "sweep=shards", "dataset.shards=3", f"sweep_dir={tmp_path / 'sweep'}", *shared, *slurm]
    assert main(sweep) == 1
    printed = capsys.readouterr().err
    assert (tmp_path / "struck").exists()
    ended = [point.state for point in read_sweep(tmp_path / "sweep").points.values()]
    assert sorted(state.state for state in ended) == ["done", "done", "failed"], printed
    (error,) = [str(state.error) for state in ended if state.error]
    assert "ended as FAILED" in error
    incomplete = read_json(tmp_path / "sweep" / "merged" / "results.json")
    assert 1 <= incomplete["missing"]["items"] <= 3
    assert len(incomplete["missing"]["shards"]) == 1

    assert main(sweep) == 0, capsys.readouterr().err
    merged, whole = tmp_path / "sweep" / "merged", tmp_path / "whole"
    assert (merged / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    results = [read_json(run / "results.json") for run in (merged, whole)]
    for found in results:
        assert found.pop("timing")
    assert json.dumps(results[0]) == json.dumps(results[1])
    assert (merged / "report.html").exists()
