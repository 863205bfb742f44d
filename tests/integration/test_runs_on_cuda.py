"""Whole commands with trainer=cuda: what they record is what the CPU records."""

import json
from pathlib import Path

import pytest
from tiny_tokenizers import SENTENCES

from fuse_repro.cli import main
from fuse_repro.runs.directory import RECORDS, RESULTS

pytestmark = pytest.mark.gpu
TABLE = [
    "methods.relative.holdout=10",
    "methods.relative_paper.k=20",
    "methods.relative_paper.steps=20",
    "methods.projector.holdout=10",
    "methods.projector.epochs=1",
]


def records(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in map(json.loads, (folder / RECORDS).read_text().splitlines())}


def without_wordfreq(arguments: list[str], folder: Path, *others: str) -> list[str]:
    """The arguments with words of a file, for machines that lack the package; the `others` are dropped."""
    (folder / "words.txt").write_text("\n".join(SENTENCES))
    kept = [argument for argument in arguments if not argument.startswith(("corpus.", *others))]
    return [*kept, "corpus=text_file", f"corpus.path={folder / 'words.txt'}"]


def both(arguments: list[str], tmp_path: Path) -> tuple[dict[str, dict], dict[str, dict]]:
    """The records of a command on the CPU and on CUDA, each with a cache of its own."""
    rest = without_wordfreq(arguments, tmp_path, "trainer=", "cache_dir=")
    found = []
    for trainer in ("cpu", "cuda"):
        own = [
            f"trainer={trainer}",
            f"cache_dir={tmp_path / trainer}",
            f"output_dir={tmp_path / f'run_{trainer}'}",
        ]
        assert main([*rest, *own]) == 0
        found.append(records(tmp_path / f"run_{trainer}"))
    return found[0], found[1]


def test_captions(tiny_overrides: list[str], photos: Path, tmp_path: Path) -> None:
    expected, found = both([*tiny_overrides, f"dataset.path={photos}"], tmp_path)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key]["caption"] == row["caption"]
        assert found[key]["objective"] == pytest.approx(row["objective"], rel=1e-3)


def test_transfer(transfer_overrides: list[str], tmp_path: Path) -> None:
    expected, found = both(["experiment=transfer_table", *transfer_overrides, *TABLE], tmp_path)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key]["accuracy"] == row["accuracy"]


def test_a_sweep_over_gpus(tiny_overrides: list[str], photos: Path, tmp_path: Path) -> None:
    rest = without_wordfreq(tiny_overrides, tmp_path, "trainer=")
    command = [
        "-m",
        *rest,
        "trainer=cuda",
        f"dataset.path={photos}",
        "seed=0,1",
        f"output_root={tmp_path / 'out'}",
    ]
    assert main([*command, "hydra.launcher.gpus=[0]"]) == 0
    found = list((tmp_path / "out").rglob(RESULTS))
    assert len(found) == 2
