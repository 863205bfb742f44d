"""The table maps x tasks as one command, on tiny models."""

import json
import re
from pathlib import Path

from fuse_repro.cli import main

MAPS = ("lookup", "ridge", "random_map")
UNUSED = ("fuse", "fuse_pair", "procrustes", "relative", "projector")


def of_part(part: str, overrides: list[str]) -> list[str]:
    """The overrides of a run on its own, as those of one part of the table."""
    own = []
    for override in overrides:
        key = override.partition("=")[0]
        group, dot, rest = key.partition(".")
        if key == "experiment":
            continue
        if group in ("dataset", "optimizer"):
            place = f"{group}.{part}.{rest}" if dot else f"{group}@{group}.{part}"
            override = place + override.removeprefix(key)
        own.append(override)
    return own


def test_every_map_on_both_tasks(
    tiny_overrides: list[str], transfer_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    arguments = [
        "experiment=maps_table",
        *of_part("captions", tiny_overrides),
        *of_part("transfer", transfer_overrides),
        f"dataset.captions.path={photos}",
        "dataset.captions.limit=2",
        *(f"~methods.{name}" for name in UNUSED),
        f"output_dir={directory}",
    ]
    assert main(arguments) == 0
    rows = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    assert [row["map"] for row in rows] == list(MAPS)
    assert [row.get("error") for row in rows] == [None] * 3
    transfer = json.loads((directory / "transfer" / "results.json").read_text())
    for row in rows:
        captions = json.loads((directory / "captions" / row["map"] / "results.json").read_text())
        assert row["objective"]["mean"] == captions["objective"]["mean"]
        assert row["precision"]["mean"] == transfer["methods"][row["map"]]["mean_over_relations"]
        assert (directory / "captions" / row["map"] / "report.html").exists()
    page = (directory / "report.html").read_text()
    assert "Maps and tasks" in page
    for link in re.findall(r'href="([^"#:]+)"', page):
        assert (directory / link).exists(), link
    assert all(f'href="captions/{name}/report.html"' in page for name in MAPS)
    parts = [directory / "transfer", *(directory / "captions" / name for name in MAPS)]
    assert all((part / "metrics.csv").exists() for part in parts)
    before = (directory / "records.jsonl").read_bytes()
    ended = {part: (part / "records.jsonl").read_bytes() for part in parts}
    assert main(arguments) == 0
    assert (directory / "records.jsonl").read_bytes() == before
    assert {part: (part / "records.jsonl").read_bytes() for part in parts} == ended
    assert main([*arguments, "resume=all"]) == 0
    assert (directory / "records.jsonl").read_bytes() == before * 2
    assert {part: (part / "records.jsonl").read_bytes() for part in parts} == {
        part: whole * 2 for part, whole in ended.items()
    }


def test_a_part_with_failed_items_is_tried_again(
    tiny_overrides: list[str], transfer_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    arguments = [
        "experiment=maps_table",
        *of_part("captions", tiny_overrides),
        *of_part("transfer", transfer_overrides),
        f"dataset.captions.path={photos}",
        "dataset.captions.limit=2",
        *(f"~methods.{name}" for name in (*UNUSED, "ridge", "random_map")),
        f"output_dir={directory}",
    ]
    whole = (photos / "blue.png").read_bytes()
    (photos / "blue.png").write_bytes(whole[:60])
    assert main(arguments) == 0
    (photos / "blue.png").write_bytes(whole)
    assert main(arguments) == 0
    results = json.loads((directory / "results.json").read_text())
    assert len(results["maps"]["lookup"]["objectives"]) == 2
