"""experiment=known_truth as a run, with its page, its table and its continuation."""

import json
from pathlib import Path

import pytest

from fuse_repro.cli import main

SMALL = [
    "experiment=known_truth",
    "corpus.size=5000",
    "~runner.truths.tokens",
    "~runner.truths.coarser",
    "~runner.truths.places",
    "runner.truths.sums={relation: sums, matrix: general, source_size: 12, target_size: 8}",
    "runner.base.words=30",
    "runner.axes={noise: [0.1], overlap: [0.5], words: [8], tokenizer: [characters]}",
    "runner.lengths=[1,2,3]",
    "runner.within=2",
    *(f"~methods.{name}" for name in ("lookup", "sparse", "local", "procrustes", "ridge_shrunk")),
]


def test_a_run_its_table_its_page_and_its_continuation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    directory = tmp_path / "run"
    arguments = [*SMALL, f"output_dir={directory}"]
    assert main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "relative error of the gradient, and of the soft prompt" in said
    records = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["done"] * 5
    results = json.loads((directory / "results.json").read_text())
    for truth, found in results["truths"].items():
        for method in ("fuse", "fuse_pair"):
            assert found["base"][method]["gradient"]["mean"] < 1e-4
            assert found["base"][method]["prompt"]["mean"] < 1e-4
            assert found["lengths"]["3"][method]["gradient"]["mean"] > 0.5, (
                "longer than what maps are fitted for"
            )
            assert found["breaks"][method]["words"] == 8
        assert found["base"]["ridge"]["prompt"]["mean"] < 1e-4
        assert found["classes"]["1x2"]["ridge"]["gradient"]["mean"] > 0.5
        assert (
            f"{truth}/characters/noise=0/overlap=1/words=30/seed=0: the models share no anchors"
            in found["errors"]["ridge"]
        )
    page = (directory / "report.html").read_text()
    assert "Where each map breaks first" in page
    assert "Error of the gradient against noise" in page

    whole = (directory / "records.jsonl").read_bytes()
    (directory / "records.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]) + b'{"torn')
    assert main(arguments) == 0
    assert (directory / "records.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["runner.lengths=[1,20]"], "runner.lengths=[1, 20]: too few words of the corpus"),
        (["runner.base.tokenizer=characters"], "runner.lengths=[1, 2, 3]: too few words of the corpus"),
        (["runner.base.words=3000"], "corpus: "),
    ],
)
def test_lengths_without_words_end_in_one_line(
    change: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *change, f"output_dir={tmp_path / 'run'}"]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert "Traceback" not in "".join(error)
