"""The command line: help that teaches, mistakes that are explained, and whole runs on tiny models."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from tiny_models import save_model, tiny_gpt2

from fuse_repro.cli import main

RUN_FILES = {
    "manifest.json",
    "status.json",
    "records.jsonl",
    "times.jsonl",
    "results.json",
    "metrics.csv",
    "captions.json",
    "report.html",
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and what was printed on standard error."""
    code = main(arguments)
    return code, capsys.readouterr().err


def read(directory: Path, name: str) -> dict:
    return json.loads((directory / name).read_text())


def test_help_and_mistakes_load_nothing_heavy() -> None:
    program = """
import sys
from fuse_repro.cli import main
assert main(["--help"]) == 0
assert main(["experiment=caption", "optimizer.baem=3"]) == 2
heavy = {"torch", "transformers", "pytorch_lightning", "matplotlib", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("experiment=demo", "dataset.path=PHOTOS", "smollm2_135m", "autodan", "--cfg job"):
        assert word in done.stdout


def test_no_arguments_is_help_and_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Experiments" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["experiment=captoin"], "experiment=captoin is unknown: experiment is one of"),
        (["experiment=captoin"], "did you mean caption?"),
        (["dataset.path=x"], "no experiment given: experiment is one of"),
        (["experiment=caption", "adapter=fues"], "adapter=fues is unknown"),
        (["experiment=caption", "model@models.lm=gpt3"], "model=gpt3 is unknown"),
        (["experiment=caption", "optimizer.baem=3"], "optimizer.baem is no key of this run: optimizer has"),
        (["experiment=caption", "optimizer.baem=3"], "did you mean optimizer.beam?"),
        (["experiment=caption", "models.lm.sorce=path"], "did you mean models.lm.source?"),
        (["experiment=caption", "optimiser.beam=3"], "did you mean optimizer?"),
        (["experiment=caption", "optimiser=autodan"], "did you mean optimizer?"),
        (
            ["experiment=caption", "seed=many"],
            "seed: Value 'many' of type 'str' could not be converted to Integer",
        ),
        (["experiment=caption", "optimizer.beam=[3"], "optimizer.beam"),
    ],
)
def test_mistakes_in_the_command_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, printed = run(capsys, *arguments)
    assert code == 2
    assert said in printed
    assert printed.startswith("fuse-repro: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("adapter.rank=0", "adapter.rank=0 is not allowed"),
        ("objective.image.weight=-1", "objective.image.weight=-1 is not allowed: at least 0"),
        ("optimizer.candidates=0", "optimizer.candidates=0"),
        ("optimizer.max_flops=0", "optimizer.max_flops=0 is not allowed: floating-point operations"),
        ("optimizer.max_flops=nan", "optimizer.max_flops=nan is not allowed"),
        ("optimizer.max_flops=-1e12", "optimizer.max_flops=-1000000000000.0 is not allowed"),
        (
            "optimizer.screen=9",
            "optimizer.screen=9 is not allowed: null, or a whole number from optimizer.beam=2",
        ),
        ("optimizer.screen=1", "to optimizer.candidates=8; of every prompt's candidates so many"),
        (
            "trainer.precision=16-mixed",
            "trainer.precision='16-mixed' is not allowed: 32-true or bf16-mixed on a",
        ),
        (
            "trainer.matmul=high",
            "trainer.matmul='high' is not allowed: highest, since a device of type cpu has no",
        ),
        ("trainer.matmul=low", "trainer.matmul='low' is not allowed: one of highest, high, medium"),
        ("optimizer.stop=eos", "one of sentence_end, never"),
        ("corpus.size=0", "size"),
        ("dtype=int8", "one of float32, bfloat16, float16"),
        ("trainer=cuda", "use trainer=cpu"),
        ("models.lm.source=ftp", "ftp"),
        ("models.lm.path=nowhere", "nowhere"),
        ("+optimizer.width=3", "width"),
        ("objective.fluency.model=judge", "one of the roles in models: lm, vision"),
        ("prefix=x", "prefix is no key of this run"),
    ],
)
def test_values_out_of_range_are_one_line(
    capsys: pytest.CaptureFixture[str],
    tiny_overrides: list[str],
    photos: Path,
    tmp_path: Path,
    override: str,
    said: str,
) -> None:
    code, printed = run(
        capsys, *tiny_overrides, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}", override
    )
    assert code in (1, 2)
    assert said in printed
    assert printed.count("\n") == 1
    assert "Traceback" not in printed


def test_too_few_words_are_found_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a man rides a wave")
    corpus = ["corpus=text_file", f"corpus.path={words}", "corpus.size=9", f"models.lm.path={words.parent}"]
    command = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={tmp_path / 'run'}"]
    code, printed = run(capsys, *command, *corpus)
    assert code != 0
    assert f"corpus.size=9 is not allowed: {words} has 4 different words" in printed
    assert not (tmp_path / "run" / "records.jsonl").exists()


def test_a_run_leaves_everything_a_report_needs(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    code, printed = run(capsys, *tiny_overrides, f"dataset.path={photos}", f"output_dir={directory}")
    assert code == 0, printed
    assert {path.name for path in directory.iterdir()} == RUN_FILES
    assert read(directory, "status.json")["state"] == "done"
    results = read(directory, "results.json")
    assert results["items"] == {"done": 3, "failed": 0}
    records = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["blue", "green", "red"]
    for record in records:
        assert record["text"].startswith("An image of")
        weighted = sum(term["weighted"] for term in record["terms"].values())
        assert record["objective"] == pytest.approx(weighted, abs=1e-4)
        assert 1 <= len(record["steps"]) <= 3
    manifest = read(directory, "manifest.json")
    assert manifest["config"]["optimizer"]["beam"] == 2
    assert set(manifest["weights"]) == {"lm", "vision"}
    assert records[0]["caption"] in (directory / "report.html").read_text()


def test_two_runs_with_one_seed_write_the_same_records(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        extra = [f"cache_dir={tmp_path / name / 'cache'}", f"output_dir={tmp_path / name / 'run'}"]
        assert run(capsys, *tiny_overrides, f"dataset.path={photos}", *extra)[0] == 0
    first, second = ((tmp_path / name / "run" / "records.jsonl").read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_corrupt_photo_is_recorded_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    (photos / "green.png").write_bytes((photos / "green.png").read_bytes()[:60])
    directory = tmp_path / "run"
    assert run(capsys, *tiny_overrides, f"dataset.path={photos}", f"output_dir={directory}")[0] == 3
    assert read(directory, "status.json")["state"] == "done"
    records = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["done", "failed", "done"]
    assert "green.png" in records[1]["error"]
    assert read(directory, "results.json")["items"] == {"done": 2, "failed": 1}


@pytest.mark.parametrize(
    ("path", "said"),
    [("missing.jpg", "missing.jpg"), ("empty", "empty"), ("broken.png", "no photograph could be")],
)
def test_photos_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], tmp_path: Path, path: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"not a photo")
    directory = tmp_path / "run"
    code, printed = run(capsys, *tiny_overrides, f"dataset.path={tmp_path / path}", f"output_dir={directory}")
    assert code == 1
    assert said in printed
    assert printed.count("\n") == 1
    status = read(directory, "status.json")
    assert status["state"] == "failed"
    assert said in status["error"]


def test_a_killed_run_goes_on_where_it_stopped(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    common = [*tiny_overrides, f"dataset.path={photos}"]
    assert run(capsys, *common, f"output_dir={whole}")[0] == 0
    process = forked.start([*common, f"output_dir={killed}"], tmp_path / "said.txt", tmp_path)
    records = killed / "records.jsonl"
    while process.is_alive() and not (records.exists() and records.stat().st_size):
        time.sleep(0.005)
    process.kill()
    process.join()
    before = records.read_bytes()
    assert run(capsys, *common, f"output_dir={killed}")[0] == 0
    assert records.read_bytes().startswith(before.rpartition(b"\n")[0])
    assert records.read_bytes() == (whole / "records.jsonl").read_bytes()


def test_another_config_does_not_mix_into_a_run(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    common = [*tiny_overrides, f"dataset.path={photos}", f"output_dir={directory}"]
    assert run(capsys, *common)[0] == 0
    before = {path: path.read_bytes() for path in directory.iterdir()}
    code, printed = run(capsys, *common, "optimizer.beam=1")
    assert code == 1
    assert "another config" in printed
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_models_of_one_name_with_other_weights_do_not_mix(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    own = save_model(tiny_gpt2(), tmp_path / "lm")
    common = [*tiny_overrides, f"models.lm.path={own}", f"dataset.path={photos}", f"output_dir={directory}"]
    assert run(capsys, *common)[0] == 0
    save_model(tiny_gpt2(seed=1), tmp_path / "lm")
    code, printed = run(capsys, *common)
    assert code == 1
    assert "begun with other weights of lm" in printed
    assert len(list((tmp_path / "cache" / "adapters").glob("lookup-*.safetensors"))) == 1


def test_without_a_gradient_no_adapter_is_fitted(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    common = [*tiny_overrides, f"dataset.path={photos}", "optimizer.gradient_weight=0"]
    assert run(capsys, *common, f"output_dir={tmp_path / 'run'}")[0] == 0
    assert not (tmp_path / "cache" / "adapters").exists()


def test_a_term_of_weight_zero_loads_no_model(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    common = [
        *tiny_overrides,
        f"dataset.path={photos}",
        "models.vision.path=nowhere",
        "objective.image.weight=0",
    ]
    assert run(capsys, *common, f"output_dir={tmp_path / 'run'}")[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_cache(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, printed = run(
        capsys,
        *tiny_overrides,
        f"dataset.path={photos}",
        f"output_dir={tmp_path / 'r'}",
        f"cache_dir={locked}",
    )
    assert code == 1
    assert "cache_dir" in printed


def test_a_cache_that_is_a_file(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, printed = run(
        capsys,
        *tiny_overrides,
        f"dataset.path={photos}",
        f"output_dir={tmp_path / 'r'}",
        f"cache_dir={tmp_path / 'file'}",
    )
    assert code == 1
    assert "cache_dir=" in printed
    assert printed.count("\n") == 1


def test_several_runs_from_one_command(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    code, printed = run(
        capsys,
        "-m",
        *tiny_overrides,
        f"dataset.path={photos}",
        "dataset.limit=1",
        f"hydra.sweep.dir={sweep}",
        "adapter=fuse,random",
        "optimizer.beam=1,0",
    )
    assert code == 1
    assert printed.count("optimizer.beam=0 is not allowed") == 2
    states = [
        read(path, "status.json")["state"] for path in sweep.iterdir() if (path / "status.json").exists()
    ]
    assert sorted(states) == ["done", "done", "failed", "failed"]


def test_report_of_a_run_and_of_nothing(
    capsys: pytest.CaptureFixture[str], tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    assert run(capsys, *tiny_overrides, f"dataset.path={photos}", f"output_dir={directory}")[0] == 0
    before = (directory / "report.html").read_bytes()
    (directory / "report.html").unlink()
    assert main(["report", str(directory)]) == 0
    assert (directory / "report.html").read_bytes() == before
    assert main(["report", str(tmp_path / "nothing")]) == 2
