"""Prompts that several models answer by, from the command line on tiny models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_masked_lms import tiny_lm
from tiny_models import save_model

from fuse_repro.cli import main

OPTIMIZERS = {
    "autodan": [
        "runner.prefix=The",
        "optimizer.candidates=8",
        "optimizer.beam=2",
        "optimizer.max_new_tokens=3",
    ],
    "gcg": ["optimizer.candidates=6", "optimizer.tokens=3"],
    "pez": [
        "optimizer.tokens=3",
        "optimizer.steps=100",
    ],  # it soon meets prompts again, which cost no evaluation
    "random_l0": ["optimizer.tokens=3"],
}


@pytest.fixture
def overrides(transfer_overrides: list[str]) -> list[str]:
    """SST-2 as the tiny transfer has it; the first model is `lm`, the second one `other`."""
    own = [one for one in transfer_overrides if not one.startswith("optimizer.")]
    named = [
        one.replace("models.source", "models.lm").replace("models.target", "models.other") for one in own
    ]
    return [*named, "runner.examples=4", "runner.dev_items=4"]


def run(overrides: list[str], folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert main(["experiment=answers", *overrides, f"output_dir={folder}"]) == 0
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return records, json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_search_finds_a_prompt_within_its_budget(
    overrides: list[str], tmp_path: Path, optimizer: str
) -> None:
    extra = [f"optimizer={optimizer}", "optimizer.max_evaluations=24", *OPTIMIZERS[optimizer]]
    (record,), results = run([*overrides, *extra], tmp_path / "run")
    assert record["status"] == "done"
    assert 0 < record["evaluations"] <= 24
    assert set(record["terms"]) == {"fluency", "answer_lm", "answer_other"}
    assert record["models"] == {"lm": "gpt2", "other": "tiny_llama"}
    for role in ("lm", "other"):
        asked = {"text": record["template"], "none": "[X] [Y]", "manual": "[X] It was [Y] ."}
        assert set(record["prompts"]) == {"found", "manual", "none"}
        assert record["prompts"]["found"][role]["items"] == 8, asked
    assert results["prompts"]["found"]["mean"]["mean"] == pytest.approx(
        sum(record["prompts"]["found"][role]["accuracy"] for role in ("lm", "other")) / 2
    )
    if optimizer == "autodan":  # test_the_seed_decides_everything asks it of each search
        again, _ = run([*overrides, *extra], tmp_path / "again")
        assert again == [record]


@pytest.mark.parametrize("optimizer", ["gcg", "gaslite", "autoprompt", "random_l0"])
def test_a_draft_screens_candidates(overrides: list[str], tmp_path: Path, optimizer: str) -> None:
    """Other examples in every step, two of them in the draft, and one model; the same run gives the same record."""
    size = ["optimizer.tokens=3", "optimizer.candidates=24", "optimizer.steps=2"]
    size += ["optimizer.flips=2", "optimizer.averaged=2"] if optimizer == "gaslite" else []
    command = [*overrides, f"optimizer={optimizer}", *size, "runner.draw=step"]
    probed = [*command, "optimizer.probe=16", "runner.draft_models=[lm]"]
    (record,), _ = run(probed, tmp_path / "run")
    (whole,), _ = run(command, tmp_path / "whole")
    assert record["status"] == whole["status"] == "done"
    assert 0 < record["evaluations"] < whole["evaluations"]
    assert set(record["terms"]) == set(whole["terms"])
    again, _ = run(probed, tmp_path / "again")
    assert again == [record]


def test_only_answers_have_a_draft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["experiment=invert", "dataset.texts=[a cat]", "optimizer=gcg", "optimizer.probe=16"]
    assert main([*command, f"output_dir={tmp_path / 'run'}"]) == 1
    said = capsys.readouterr().err
    assert "optimizer.probe=16 needs a cheap draft" in said
    assert "experiment=answers" in said


def test_the_figures_are_those_of_evaluate(overrides: list[str], tmp_path: Path) -> None:
    """A prompt that was found is a template like any other, which another command asks with the same result."""
    few = ["optimizer.max_evaluations=12", "optimizer.tokens=3", "optimizer.constraints.printable_ascii=true"]
    (record,), _ = run([*overrides, *few], tmp_path / "run")
    own = [
        one
        for one in overrides
        if not one.startswith(("models.other", "model@models.other", "runner", "corpus"))
    ]
    text = f"text={json.dumps(record['template'])}"
    assert main(["experiment=evaluate", *own, text, f"output_dir={tmp_path / 'asked'}"]) == 0
    asked = json.loads((tmp_path / "asked" / "results.json").read_text())["methods"]
    assert asked["text"]["mean_over_relations"] == record["prompts"]["found"]["lm"]["accuracy"]
    assert asked["template"]["mean_over_relations"] == record["prompts"]["manual"]["lm"]["accuracy"]


def test_a_fixed_text_and_a_model_that_is_only_asked_in_the_end(
    overrides: list[str], tiny_models_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = [
        "+model@models.unseen=gpt2",
        "models.unseen.source=path",
        f"models.unseen.path={tiny_models_folder / 'lm'}",
        "models.unseen.name=third",
    ]
    extra = ["optimizer.max_evaluations=12", "optimizer.tokens=3", "runner.template='{prompt} [Y]'"]
    (record,), _ = run([*overrides, *unseen, *extra, "target='a kite on a train'"], tmp_path / "run")
    assert record["target"] == "a kite on a train"
    assert set(record["said"]) == {"lm", "other", "unseen"}
    for role, found in record["said"].items():
        assert found["nats"] > 0, role
    assert record["said"]["lm"]["nats"] == pytest.approx(record["terms"]["answer_lm"]["raw"], rel=1e-4)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "a kite on a train" in page
    shown = capsys.readouterr().out
    assert "nats per token of the target" in shown
    assert all(f"{found['nats']:.2f}" in shown for found in record["said"].values())


def test_chat_templates_write_what_stands_before_an_answer(
    overrides: list[str], tiny_models_folder: Path, tmp_path: Path
) -> None:
    """With a chat template that writes a message as it is, chatting models answer as others do."""
    folders = {role: tmp_path / name for role, name in (("lm", "lm"), ("other", "target"))}
    for folder in folders.values():
        shutil.copytree(tiny_models_folder / folder.name, folder)
        (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    chatting = [f"models.{role}.path={folder}" for role, folder in folders.items()]
    extra = ["optimizer.max_evaluations=12", "optimizer.tokens=3", "runner.split=dev"]
    (chat,), _ = run([*overrides, *chatting, *extra, "runner.chat=true"], tmp_path / "run")
    assert chat["status"] == "done"
    assert {prompts["lm"]["candidates"] for prompts in chat["prompts"].values()} == {2}
    for role in ("lm", "other"):
        assert 0 <= chat["prompts"]["found"][role]["accuracy"] <= 1
    assert all(row["said"]["lm"] in ("a", "the") for row in chat["samples"])


def test_models_of_one_tokenizer_need_no_map(
    overrides: list[str], tiny_models_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [
        f"models.other.path={tiny_models_folder / 'lm'}",
        "optimizer.max_evaluations=12",
        "optimizer.tokens=3",
    ]
    (record,), _ = run([*overrides, *same], tmp_path / "run")
    assert "no map is needed" in capsys.readouterr().err
    terms = record["terms"]
    assert terms["answer_lm"]["raw"] == pytest.approx(terms["answer_other"]["raw"], rel=1e-4)


def test_masked_models_answer_too(overrides: list[str], tmp_path: Path) -> None:
    folder = save_model(tiny_lm("bert"), tmp_path / "bert")
    own = [one for one in overrides if not one.startswith(("models.other", "model@models.other"))]
    masked = ["model@models.other=bert_base", "models.other.source=path", f"models.other.path={folder}"]
    (record,), _ = run(
        [*own, *masked, "optimizer.max_evaluations=12", "optimizer.tokens=3"], tmp_path / "run"
    )
    assert record["models"]["other"] == "bert_base"
    assert 0 <= record["prompts"]["found"]["other"]["accuracy"] <= 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["runner.template='[X] [Y]'"], "{prompt}"),
        (["runner.template='[X] {prompt}'"], "[Y]"),
        (["runner.template='{prompt} [Y]'"], "[X]"),
        (["target=' '"], "target=' '"),
        (["runner.chat=true"], "chat template"),
        (["runner.draw=never"], "runner.draw='never'"),
        (["objective.answer.weight=0"], "AnswerTerm"),
        (["optimizer.probe=0"], "optimizer.probe=0"),
        (["optimizer.probe=16", "runner.draft_examples=4"], "runner.draft_examples below 4"),
        (
            ["optimizer.probe=16", "target='a kite'", "runner.template='{prompt} [Y]'"],
            "runner.draft_models=['lm']",
        ),
        (["runner.draft_examples=0"], "runner.draft_examples=0"),
        (["runner.draft_models=[third]"], "runner.draft_models=['third']"),
        (["dataset=photos", "dataset.path=nowhere"], "dataset"),
    ],
)
def test_a_mistake_is_one_line(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], line: str
) -> None:
    given = [one for one in overrides if change[0] != "dataset=photos" or not one.startswith("dataset")]
    assert main(["experiment=answers", *given, *change, f"output_dir={tmp_path / 'run'}"]) == 1
    said = [text for text in capsys.readouterr().err.splitlines() if line in text]
    assert len(said) == 1, said
