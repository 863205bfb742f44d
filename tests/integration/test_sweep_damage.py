"""Sweeps that are continued although files of their points are damaged."""

import json
from pathlib import Path

import pytest
from drills import drill, records, the_sweep

from fuse_repro.cli import main

QUICK = ("hydra.launcher.in_process=true", "runner.count=3")


def test_damaged_points_fail_alone_and_lose_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = drill(tmp_path, "seed=0,1,2,3", *QUICK)
    assert main(command) == 0
    before = records(tmp_path)
    points = {point.overrides["seed"]: point.directory for point in the_sweep(tmp_path).points.values()}
    lines = (points[1] / "records.jsonl").read_bytes().splitlines(keepends=True)
    (points[1] / "records.jsonl").write_bytes(lines[0] + b"edited\n" + lines[2])
    (points[2] / "manifest.json").write_text("{")
    (points[3] / "status.json").write_text("")
    capsys.readouterr()

    assert main(command) == 1
    printed = capsys.readouterr().err
    assert f"{points[1] / 'records.jsonl'} is damaged at line 2; delete that line and run again" in printed
    assert f"{points[2] / 'manifest.json'} is damaged" in printed
    assert "2 done, 0 running, 2 failed, 0 left" in printed
    assert "Traceback" not in printed
    assert (points[1] / "records.jsonl").read_bytes() == lines[0] + b"edited\n" + lines[2]

    (points[1] / "records.jsonl").write_bytes(lines[0] + lines[2])
    (points[2] / "manifest.json").write_bytes(_manifest_of(points))
    assert main(command) == 0
    assert sorted(_by_id(records(tmp_path))) == sorted(_by_id(before))


def _manifest_of(points: dict) -> bytes:
    """What the manifest of seed 2 was: that of seed 0 with another seed and hash."""
    from fuse_repro.runs.provenance import config_hash

    manifest = json.loads((points[0] / "manifest.json").read_text())
    manifest["config"]["seed"] = manifest["seed"] = 2
    manifest["config_hash"] = config_hash(manifest["config"])
    return json.dumps(manifest).encode()


def _by_id(found: dict) -> list[str]:
    return [json.dumps(sorted(rows, key=lambda row: row["id"])) for rows in found.values()]
