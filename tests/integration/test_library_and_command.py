"""What the library gives is what the command writes, for the same models and settings."""

from dataclasses import replace
from pathlib import Path

import torch
from own_prompt import of
from tiny_models import tiny_clip, tiny_gpt2, tiny_llama

from fuse_repro import caption, move_prompt
from fuse_repro.cli import main
from fuse_repro.library.packaged import packaged
from fuse_repro.prompts import SoftPrompt, load_peft, save_peft
from fuse_repro.runners.build import build
from fuse_repro.runs.directory import RESULTS, read_json, read_records


def test_a_prompt_is_moved_as_by_the_command(transfer_overrides: list[str], tmp_path: Path) -> None:
    source, target = tiny_gpt2(), tiny_llama()
    prompt = SoftPrompt(torch.randn(3, 32), "postfix", source.name, source.fingerprint)
    save_peft(prompt, tmp_path / "own", source)
    models = of(transfer_overrides, "model", "corpus")
    command = ["experiment=move", "adapter=ridge", *models, f"prompt={tmp_path / 'own'}"]
    assert main([*command, f"output={tmp_path / 'moved'}", f"output_dir={tmp_path / 'run'}"]) == 0
    moved = move_prompt(tmp_path / "own", source, target, adapter="ridge")
    written = load_peft(tmp_path / "moved", target)
    torch.testing.assert_close(moved.embeddings, written.embeddings)
    assert moved.prompt.position == written.position == "postfix"
    found = read_json(tmp_path / "run" / RESULTS)
    assert moved.arrival is not None
    assert found["arrival"]["recall"] == moved.arrival.recall
    recorded = read_records(tmp_path / "run")
    assert [row["after"]["words"][0][0] for row in recorded] == moved.words
    assert [row["far"] for row in recorded] == [row.far for row in moved.rows]


def test_a_photograph_is_captioned_as_by_the_command(
    tiny_overrides: list[str], photos: Path, tmp_path: Path
) -> None:
    more = [f"dataset.path={photos}", "runner.metrics=false", f"output_dir={tmp_path / 'run'}"]
    assert main([*tiny_overrides, *more]) == 0
    optimizer = build(packaged({"optimizer": "autodan"}, cache_dir=tmp_path / "cache").optimizer)
    points = replace(optimizer.linearisation, count=4, joining=2)
    small = replace(optimizer, candidates=8, beam=2, max_new_tokens=3, linearisation=points)
    records = read_records(tmp_path / "run")
    found = caption([record["image"] for record in records], tiny_gpt2(), tiny_clip(), optimizer=small)
    assert isinstance(found, list)
    assert [one.text for one in found] == [record["caption"] for record in records]
    for one, record in zip(found, records, strict=True):
        torch.testing.assert_close(one.objective, record["objective"], rtol=1e-4, atol=1e-5)
        assert one.evaluations == record["evaluations"]
