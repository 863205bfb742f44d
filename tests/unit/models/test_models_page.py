"""docs/models.md says what was measured."""

import json
from pathlib import Path

from families_page import TITLES, with_tables

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "architectures.json").read_text(encoding="utf-8"))


def test_the_tables_are_those_of_the_results() -> None:
    assert with_tables(PAGE, RESULTS) == PAGE, "run python benchmarks/architectures.py --page"


def test_every_kind_was_tried_and_every_reason_is_said() -> None:
    rows = RESULTS["families"]
    assert {row["kind"] for row in rows} == set(TITLES)
    assert all(row["reason"] and "\n" not in row["reason"] for row in rows if row["result"] != "works")


def test_popular_families_work() -> None:
    works = {(row["kind"], row["family"]) for row in RESULTS["families"] if row["result"] == "works"}
    causal = "llama mistral qwen2 qwen3 phi phi3 gpt2 gpt_neo gpt_neox gptj opt bloom falcon gemma gemma2 mpt mamba"
    masked = "bert roberta albert distilbert deberta-v2 electra mpnet xlm-roberta modernbert nomic_bert"
    wanted = {("causal", name) for name in [*causal.split(), "gemma3_text", "stablelm"]}
    wanted |= {(kind, name) for kind in ("masked", "encoder") for name in masked.split()}
    wanted |= {
        ("image-text", name) for name in ("clip", "siglip", "altclip", "chinese_clip", "clipseg", "align")
    }
    assert not wanted - works
