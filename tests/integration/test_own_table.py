"""A stranger's own csv, by the command: tuned, moved to a model with a token of its own in front, read by PEFT."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import peft
import pytest
import torch
import transformers
from tiny_models import save_model, tiny_gemma3

from fuse_repro.cli import main
from fuse_repro.runs.directory import RECORDS, RESULTS

THINGS = ("cat", "dog", "coffee", "table", "kite", "train", "bridge", "lake", "beach", "wave")
QUESTION = "a picture of {thing} with"


def results(folder: Path) -> dict:
    return json.loads((folder / RESULTS).read_text())


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    """The overrides that name a csv of 40 rows, one without a label."""
    with (tmp_path / "my.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("number", "thing", "stars"))
        for number in range(40):
            thing = f"{THINGS[number % 10]}, or {THINGS[number // 4]} {number}"
            writer.writerow((number, thing, "" if number == 7 else ("good", "bad")[number % 2]))
    return [
        "dataset=table",
        f"dataset.path={tmp_path / 'my.csv'}",
        f"dataset.text='{QUESTION}'",
        "dataset.label=stars",
        "dataset.words={good: a, bad: the}",
        'dataset.template="[X] [Y]."',
    ]


@pytest.fixture
def models(tiny_models_folder: Path, tmp_path: Path) -> dict[str, list[str]]:
    """The overrides of the source, and of a target that puts a token in front of every text, for any role."""
    folders = {"source": tiny_models_folder / "lm", "target": save_model(tiny_gemma3(), tmp_path / "gemma")}
    return {
        role: [
            "model@models.ROLE=gpt2",
            "models.ROLE.source=path",
            f"models.ROLE.path={folder}",
            f"models.ROLE.name=tiny_{role}",
        ]
        for role, folder in folders.items()
    }


def as_role(overrides: Sequence[str], role: str) -> list[str]:
    return [one.replace("ROLE", role) for one in overrides]


def run(folder: Path, *arguments: str) -> dict:
    common = ["trainer=cpu", f"cache_dir={folder.parent / 'cache'}", f"output_dir={folder}"]
    assert main([*arguments, *common]) == 0
    return results(folder)


def test_from_a_csv_to_peft_on_another_model(
    table: list[str], models: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned, moved = tmp_path / "tuned", tmp_path / "moved"
    steps = ["optimizer.m=3", "optimizer.max_steps=4", "optimizer.position=prefix", f"output={tuned}"]
    found = run(tmp_path / "tune", "experiment=tune", *as_role(models["source"], "lm"), *table, *steps)
    assert set(found["methods"]) == {"tuned", "template"}
    assert rows(tmp_path / "tune")[0]["dropped"] == {"without an answer": 1}
    assert "1 of 40 rows left out: without an answer (line 9)" in capsys.readouterr().err
    both = [*as_role(models["source"], "source"), *as_role(models["target"], "target"), "corpus.size=2000"]
    command = ["experiment=move", *both, *table, "adapter.holdout=10", f"prompt={tuned}", f"output={moved}"]
    found = run(tmp_path / "move", *command)
    assert found["position"] == "after_bos"
    assert set(found["felt"]) == {"prefix", "after_bos"}
    page = (tmp_path / "move" / "report.html").read_text()
    assert "tokenizer(text, add_special_tokens=False)" in page
    asked = ["experiment=evaluate", *as_role(models["target"], "lm"), *table, f"prompt={moved}"]
    accuracy = run(tmp_path / "evaluate", *asked, "runner.template=false")["methods"]["prompt"][
        "mean_over_relations"
    ]
    assert accuracy == found["accuracy"]["after"]["mean_over_relations"]
    items = [record["items"] for record in rows(tmp_path / "evaluate")]
    assert accuracy == pytest.approx(right_by_peft(tmp_path, moved) / items[0])


@torch.no_grad()
def right_by_peft(folder: Path, prompt: Path) -> int:
    """How many test items peft's own forward gets right, with transformers' tokenizer and no special tokens."""
    from fuse_repro.data.table import TableTask

    splits = TableTask(QUESTION, "stars", "[X] [Y].", str(folder / "my.csv"), {"good": "a", "bad": "the"})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "gemma")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "gemma")
    model = peft.PeftModel.from_pretrained(base, prompt).eval()
    words = ("a", "the")
    ids = [tokenizer(f"with {word}", add_special_tokens=False).input_ids[-1] for word in words]
    hits = 0
    for item in splits.tasks()[0].splits["test"]:
        given = tokenizer(item.text, add_special_tokens=False, return_tensors="pt")
        logits = model(input_ids=given.input_ids, attention_mask=given.attention_mask).logits[0, -1]
        hits += words[int(logits[ids].argmax())] == item.answer
    return hits


@pytest.mark.parametrize("experiment", ["tune", "move", "evaluate"])
def test_a_word_of_several_tokens_is_one_line_and_nothing_is_written(
    experiment: str,
    table: list[str],
    models: dict[str, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*table[:-2], "dataset.words={good: zebra crossings, bad: the}", table[-1]]
    own = as_role(models["source"], "lm")
    more = [f"output={tmp_path / 'out'}"]
    if experiment == "move":
        prompt = tmp_path / "tuned"
        steps = ["optimizer.m=3", "optimizer.max_steps=2", f"output={prompt}"]
        run(tmp_path / "tune", "experiment=tune", *own, *table, *steps)
        own = [*as_role(models["source"], "source"), *as_role(models["target"], "target"), "corpus.size=2000"]
        more = [f"output={tmp_path / 'out'}", f"prompt={prompt}"]
    capsys.readouterr()
    command = [
        f"experiment={experiment}",
        *own,
        *words,
        *more,
        "trainer=cpu",
        f"cache_dir={tmp_path / 'cache'}",
    ]
    assert main([*command, f"output_dir={tmp_path / 'run'}"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "dataset.multi_token='refuse' does not allow answers" in lines[-1]
    assert "'zebra crossings'" in lines[-1]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run" / "prompt").exists()


def test_words_of_several_tokens_are_scored_whole(
    table: list[str], models: dict[str, list[str]], tmp_path: Path
) -> None:
    words = [
        *table[:-2],
        "dataset.words={good: zebra crossings, bad: the}",
        table[-1],
        "dataset.multi_token=whole",
    ]
    steps = ["optimizer.m=2", "optimizer.max_steps=2", f"output={tmp_path / 'out'}"]
    run(tmp_path / "tune", "experiment=tune", *as_role(models["source"], "lm"), *words, *steps)
    cells = rows(tmp_path / "tune")
    assert {(cell["status"], cell["candidates"]) for cell in cells} == {("done", 2)}
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset.text=review"], "dataset.text='review' is not allowed: one of the columns of"),
        (
            ["dataset.words={good: a}"],
            "labels without a word in dataset.words: 'bad' in 19 rows (lines 3, 5, 7 ...)",
        ),
        (["dataset.path=nowhere.csv"], "nowhere.csv cannot be read (No such file or directory)"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_loaded(
    arguments: list[str], said: str, table: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {one.partition("=")[0] for one in arguments}
    others = [one for one in table if one.partition("=")[0] not in keys]  # Hydra would merge maps
    assert main(["experiment=evaluate", *others, *arguments, f"output_dir={tmp_path / 'run'}"]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_dry_run_counts_the_items(table: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment=tune", *table, "dry_run=true"]) == 0
    assert "1 tasks, counted" in capsys.readouterr().out
    facts = ["dataset=facts_table", table[1], "dataset.subject=thing", "dataset.answer=stars", table[-1]]
    assert main(["experiment=evaluate", *facts, "dry_run=true"]) == 0
    assert "1 tasks, counted" in capsys.readouterr().out
