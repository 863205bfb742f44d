"""Real pretrained weights from the index, real photographs, the real metrics."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from composed import composed

from fuse_repro.adapters import EmbeddingMap, FuseAdapterModule, RandomMap
from fuse_repro.cli import main
from fuse_repro.objectives import MultiObjectiveLoss, PromptBatch, TextMatchTerm
from fuse_repro.runners.build import build
from fuse_repro.search.gradient import OpenPrompt, slot_gradients
from fuse_repro.search.linearisation import Linearisation
from fuse_repro.search.problem import PromptProblem
from fuse_repro.weights import cache_folder

SMALL = ["optimizer.candidates=32", "optimizer.beam=2", "optimizer.max_new_tokens=4", "trainer=cpu"]
SMALL += ["optimizer.linearisation.count=8", "optimizer.linearisation.joining=4"]
pytestmark = pytest.mark.weights


def results(directory: Path) -> dict:
    status = json.loads((directory / "status.json").read_text())
    assert status["state"] == "done", status["error"]
    return json.loads((directory / "results.json").read_text())


def test_the_cat_is_called_a_cat(tmp_path: Path) -> None:
    assert main(["experiment=demo", "dataset.limit=1", *SMALL, f"output_dir={tmp_path / 'run'}"]) == 0
    (record,) = map(json.loads, (tmp_path / "run" / "records.jsonl").read_text().splitlines())
    assert record["id"] == "chelsea"
    assert "cat" in record["caption"].lower()
    assert "Walt" in record["source"]
    assert results(tmp_path / "run")["metrics"] is None


def test_captions_of_coco_photos_are_compared_with_their_references(
    shared_data: Path, quick_meteor: None, tmp_path: Path
) -> None:
    photos = shared_data / "coco" / "images.jsonl"
    arguments = ["experiment=caption", f"dataset.path={photos}", "dataset.limit=2", *SMALL]
    assert main([*arguments, f"output_dir={tmp_path / 'run'}"]) == 0
    found = results(tmp_path / "run")
    assert found["items"] == {"done": 2, "failed": 0}
    assert found["metrics_note"] is None
    assert {"BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"} <= set(found["metrics"])


def test_the_fitted_map_ranks_candidates_and_a_random_one_does_not() -> None:
    """Rank correlation of predicted with true losses over 400 words after a prefix, SmolLM2 to MiniLM."""
    config = composed("experiment=demo", "model@models.vision=minilm")
    lm, encoder = build(config.models.lm), build(config.models.vision)
    words = build(config.corpus).words()
    candidates = lm.tokenizer.encode([f" {word}" for word in words[200:2000:2]])
    tokens = torch.tensor([ids[0] for ids in candidates if len(ids) == 1][:400])
    texts = [f"An image of{piece}" for piece in lm.tokenizer.decode([[int(token)] for token in tokens])]

    @cache
    def true_losses(target: str) -> torch.Tensor:
        """They are the encoder's alone, whatever the map."""
        term = TextMatchTerm("text", encoder, RandomMap.fit(lm, encoder, words))
        return term(PromptBatch(texts, {"text": term.target(target)}))

    def correlation(kind: type[EmbeddingMap]) -> float:
        term = TextMatchTerm("text", encoder, kind.fit(lm, encoder, words, cache_dir=cache_folder(None)))
        values = []
        for target in ("A man rides a horse.", "A plate of food on a table.", "A train at the station."):
            targets = {"text": term.target(target)}
            problem = PromptProblem(lm, MultiObjectiveLoss({"text": term}), "An image of", targets)
            prompt, at_mask = OpenPrompt("An image of"), Linearisation("dummy")
            found = slot_gradients(problem, [prompt], at_mask, torch.zeros(1, lm.tokenizer.vocab_size))
            assert found is not None
            predicted = found.scores()[0, tokens]
            ranks = torch.stack([predicted, true_losses(target)]).argsort(1).argsort(1).double()
            values.append(float(torch.corrcoef(ranks)[0, 1]))
        return sum(values) / len(values)

    assert len(tokens) == 400
    assert correlation(FuseAdapterModule) > 0.15
    assert abs(correlation(RandomMap)) < 0.15
