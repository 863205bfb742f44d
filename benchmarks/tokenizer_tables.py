"""The tables of docs/tokenizers.md, in Markdown, from benchmarks/results.

python benchmarks/tokenizer_tables.py
"""

import json
from collections.abc import Sequence
from typing import Any

from _common import RESULTS

SHORT = {
    "smollm2_135m": "SmolLM2",
    "gemma3_270m": "Gemma",
    "qwen25_coder_1b5": "Qwen2.5",
    "minilm": "MiniLM",
    "gpt2": "GPT-2",
    "clip": "CLIP",
}
WHOLE = ("wikitext", "russian", "arabic", "chinese")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def percent(share: float) -> str:
    """A share as a percentage with one decimal; 100 only where nothing is missing."""
    return "100" if share == 1 else f"{min(100 * share, 99.9):.1f}"


def of_one(title: str, text: dict[str, Any]) -> str:
    """Tokens per word, and what l covers, per tokenizer."""
    limits = list(next(iter(text["one"].values()))["covered"])
    rows = [
        [SHORT[name], f"{one['mean']:.2f}", percent(one["shares"]["0"])]
        + [percent(one["covered"][limit]) for limit in limits]
        for name, one in text["one"].items()
    ]
    head = [title, "tokens per word", "unknown, %", *(f"l = {limit}" for limit in limits)]
    return table(head, rows)


def of_pairs(title: str, text: dict[str, Any], limit: str) -> str:
    """What l covers for every source (rows) and target (columns)."""
    names = list(text["one"])
    rows = []
    for source in names:
        cells = (
            "" if source == target else percent(text["pairs"][f"{source}->{target}"]["covered"][limit])
            for target in names
        )
        rows.append([SHORT[source], *cells])
    return table([f"{title}, l = {limit}", *(SHORT[name] for name in names)], rows)


def of_words(texts: dict[str, Any]) -> str:
    """Least and most of all ordered pairs: words with a pair, and words that maps are fitted on."""
    rows = []
    for title, text in texts.items():
        cells = [title, f"{text['words']:,}", f"{text['fit_words']:,}"]
        for of in (
            lambda pair: pair["words_with_a_pair"],
            lambda pair: pair["fit_words"]["4"],
            lambda pair: pair["covered"]["4"],
            lambda pair: pair["covered"]["8"],
        ):
            shares = sorted(of(pair) for pair in text["pairs"].values())
            cells.append(f"{percent(shares[0])} to {percent(shares[-1])}")
        rows.append(cells)
    head = ["text", "words", "fit words", "with a pair", "fitted at l = 4", "text covered at 4", "at 8"]
    return table(head, rows)


def of_limits(figures: dict[str, Any]) -> str:
    """Spearman inside words, per map (rows) and pieces (columns)."""
    rows = []
    for name, groups in figures["spearman"].items():
        cells = (
            f"{one['mean']:.2f} ({one['interval'][0]:.2f} to {one['interval'][1]:.2f})"
            for one in groups.values()
        )
        rows.append([name, *cells])
    return table(["map", *next(iter(figures["spearman"].values()))], rows)


def main() -> None:
    figures = json.loads((RESULTS / "every_tokenizer.json").read_text())
    texts = figures["texts"]
    for title in WHOLE:
        print(of_one(title, texts[title]))
        print(of_pairs(title, texts[title], "4"))
    print(of_words(texts))
    print(of_limits(json.loads((RESULTS / "word_lengths.json").read_text())))


if __name__ == "__main__":
    main()
