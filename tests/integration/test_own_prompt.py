"""The user's own soft prompt, by the command: tuned, moved, loaded by PEFT, evaluated."""

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from own_prompt import MAP, chain, of
from tiny_models import tiny_gpt2, tiny_llama

from fuse_repro.cli import main
from fuse_repro.prompts import SoftPrompt, load_peft, save_peft
from fuse_repro.runs.directory import RECORDS, RESULTS


def results(folder: Path) -> dict:
    return json.loads((folder / RESULTS).read_text())


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]


@pytest.fixture
def own_prompt(tmp_path: Path) -> Path:
    """A checkpoint written by peft itself for the tiny GPT-2."""
    model = tiny_gpt2()
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft.get_peft_model(model.model, settings).save_pretrained(tmp_path / "own")
    return tmp_path / "own"


def test_tune_move_evaluate(transfer_overrides: list[str], tmp_path: Path) -> None:
    tune, move, evaluate = chain(transfer_overrides, tmp_path)
    assert main(tune) == 0
    tuned = results(tmp_path / "tune")
    assert set(tuned["methods"]) == {"tuned", "template"}
    costs = [row["cost"]["flops"] for row in rows(tmp_path / "tune")]
    assert min(costs) > 0
    assert tuned["cost"] | {"tokens": None} == {"flops": sum(costs), "records": len(costs), "tokens": None}
    assert main(move) == 0
    found = results(tmp_path / "move")
    assert set(found["accuracy"]) == {"before", "after"}
    assert found["arrival"]["words"] >= 20
    assert main(evaluate) == 0
    methods = results(tmp_path / "evaluate")["methods"]
    assert set(methods) == {"prompt", "text", "template"}
    after = found["accuracy"]["after"]["mean_over_relations"]
    assert methods["prompt"]["mean_over_relations"] == after
    page = (tmp_path / "move" / "report.html").read_text()
    assert "Every row" in page
    assert str(tmp_path / "moved") in page


@pytest.mark.parametrize("criterion", ["round_trip", "words"])
def test_the_map_can_be_chosen_by_the_prompt_or_by_words(
    criterion: str, own_prompt: Path, transfer_overrides: list[str], tmp_path: Path
) -> None:
    """With data that have development items by a round trip, without any by held-out words."""
    _, move, _ = chain(transfer_overrides, tmp_path)
    move = [
        one for one in move if not one.startswith(("prompt=", *MAP, *(["dataset"] * (criterion == "words"))))
    ]
    move += ["adapter=auto", f"prompt={own_prompt}"]
    assert main(move) == 0
    found = results(tmp_path / "move")
    assert found["choice"]["criterion"] == criterion
    assert len(found["choice"]["candidates"]) == 4
    assert found["choice"]["chosen"] in found["choice"]["candidates"]
    assert "map chosen by" in (tmp_path / "move" / "report.html").read_text()
    assert found["arrival"]["words"] >= 20


def test_a_checkpoint_of_peft_arrives_as_one(
    own_prompt: Path, transfer_overrides: list[str], tmp_path: Path
) -> None:
    """No data are needed; what is written, peft loads in front of the target."""
    moved = tmp_path / "moved"
    command = ["experiment=move", *of(transfer_overrides, "model", "corpus"), *MAP, f"prompt={own_prompt}"]
    assert main([*command, f"output={moved}", f"output_dir={tmp_path / 'run'}"]) == 0
    recorded = rows(tmp_path / "run")
    assert [row["row"] for row in recorded] == [0, 1, 2, 3]
    for row in recorded:
        assert len(row["after"]["words"]) == 5
        assert row["matching_loss"] >= 0
    target = tiny_llama()
    base = transformers.AutoModelForCausalLM.from_pretrained(
        next(one for one in transfer_overrides if one.startswith("models.target.path=")).partition("=")[2]
    )
    loaded = peft.PeftModel.from_pretrained(base, moved)
    vectors = loaded.get_prompt_embedding_to_save("default")
    torch.testing.assert_close(vectors, load_peft(moved, target).embeddings)
    ids = torch.tensor(target.tokenizer.encode(["A cat"]))
    assert loaded(input_ids=ids).logits.shape[:2] == (1, ids.shape[1] + 4)


def test_other_weights_are_refused_unless_forced(
    transfer_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_gpt2(seed=1)
    save_peft(SoftPrompt(torch.randn(2, 32), "postfix", model.name, model.fingerprint), tmp_path / "p", model)
    command = [
        "experiment=move",
        *of(transfer_overrides, "model", "corpus"),
        *MAP,
        f"prompt={tmp_path / 'p'}",
    ]
    assert main([*command, f"output_dir={tmp_path / 'refused'}"]) == 1
    assert "take it as it is with runner.force=true" in capsys.readouterr().err
    assert not (tmp_path / "refused" / "prompt").exists()
    assert main([*command, "runner.force=true", f"output_dir={tmp_path / 'forced'}"]) == 0
    assert (tmp_path / "forced" / "prompt" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["experiment=move", "prompt=nowhere"], "adapter_config.json cannot be read"),
        (["experiment=move"], "prompt"),
        (["experiment=move", "prompt=[a,b]"], "prompt has 2 folders for 1 models"),
        (["experiment=evaluate", "runner.template=false"], "no prompt is given: prompt=FOLDER"),
        (["experiment=evaluate", "text=nothing"], "a text with [X] and [Y], once each"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_loaded(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["models.target.accept_terms=true"] if "move" in arguments[0] else []
    assert main([*arguments, *more, f"output_dir={tmp_path / 'run'}"]) != 0
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
