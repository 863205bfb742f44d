"""The tables of docs/models.md, made from benchmarks/results/architectures.json."""

from collections.abc import Mapping, Sequence
from typing import Any

BEGIN, END = "<!-- made by benchmarks/architectures.py -->", "<!-- end -->"
TITLES = {
    "causal": "Causal language models (`CausalLM`)",
    "masked": "Masked language models (`MaskedLM`)",
    "encoder": "Text encoders (`TextEncoder`)",
    "classifier": "Classifiers (`SequenceClassifier`)",
    "image-text": "Image-text models (`ClipDualEncoder`, `SiglipDualEncoder`, `ImageTextEncoder`)",
}
RESULTS = {
    "refused": "refused in one line",
    "fails": "loads, but not every step passes",
    "not tried": "not tried",
}


def tables(results: Mapping[str, Any]) -> str:
    """All tables, between the lines BEGIN and END."""
    rows = results["families"]
    parts = [BEGIN, "", f"Tried with transformers {results['transformers']}."]
    parts += [_counted(rows)]
    for kind, title in TITLES.items():
        own = [row for row in rows if row["kind"] == kind]
        if own:
            parts += ["", f"### {title}", "", *_of_kind(own)]
    return "\n".join([*parts, "", END])


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """The page with its tables made anew."""
    before, rest = page.split(BEGIN)
    return before + tables(results) + rest.split(END)[1]


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = {name: sum(row["result"] == name for row in rows) for name in ("works", *RESULTS)}
    said = [
        f"{counts['works']} work",
        *(f"{counts[name]} {text}" for name, text in RESULTS.items() if counts[name]),
    ]
    return f"Of {len(rows)} pairs of a kind and a family: {', '.join(said)}."


def _of_kind(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    works = ", ".join(f"`{row['family']}`" for row in rows if row["result"] == "works")
    lines = [f"Work: {works or 'none'}."]
    others = [row for name in RESULTS for row in rows if row["result"] == name]
    if others:
        lines += ["", "| family | result | reason |", "|---|---|---|"]
        lines += [
            f"| `{row['family']}` | {RESULTS[row['result']]} | {_cell(row['reason'])} |" for row in others
        ]
    return lines


def _cell(reason: str) -> str:
    return reason.replace("|", "/").replace("<", "&lt;")
