r"""Inside words of many tokens: how well FUSE's gradient ranks replacements, per limit l and per way to keep the maps.

    python benchmarks/word_lengths.py $FUSE_REPRO_DATA/text/wikitext2_test.txt $FUSE_REPRO_DATA/agnews/test.tsv

One token of a word inside a line of text is replaced by random tokens, and the distance of the changed text to
the words that follow is computed by MiniLM: that is the truth. The gradient at the text as it stands, pulled back
through each map, predicts it. What counts is the rank correlation, by how many pieces MiniLM writes the word with.
SmolLM2's tokens are searched. One record per word in FOLDER/records.jsonl; a run that was stopped goes on.
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _common import load, report
from _records import append, read

from fuse_repro.adapters import FuseAdapterModule, LookupMap, RidgeMap
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.fuse.faces import factored
from fuse_repro.data.corpora import WordfreqCorpus
from fuse_repro.errors import UsageError
from fuse_repro.metrics.fidelity import spearman
from fuse_repro.metrics.statistics import bootstrap_interval
from fuse_repro.models.base import FrozenModel
from fuse_repro.objectives import MultiObjectiveLoss, TextMatchTerm
from fuse_repro.search.problem import PromptProblem
from fuse_repro.search.token_gradients import token_gradients
from fuse_repro.weights import cache_folder

LIMITS, PIECES, WINDOW = (1, 2, 3, 4, 6, 8), (1, 2, 3, 4, 5, 6), 5
RANKS, FIT = (16, 64, 128, 256), {"words_per_length": 4096}
LONG = 8  # the limit whose maps are kept in fewer bytes


def fitted_maps(lm: FrozenModel, encoder: FrozenModel) -> dict[str, EmbeddingMap]:
    """Every map that is compared, by name."""
    words, cache = WordfreqCorpus().words(), cache_folder()
    fuse = {
        limit: FuseAdapterModule.fit(lm, encoder, words, cache_dir=cache, max_tokens=limit, **FIT)
        for limit in LIMITS
    }
    maps: dict[str, EmbeddingMap] = {f"l{limit}": one for limit, one in fuse.items()}
    kind = {"max_tokens": 4, "group_by": "pair"}
    maps["pair_l4"] = FuseAdapterModule.fit(lm, encoder, words, cache_dir=cache, **kind, **FIT)
    for above in (1, 2, 4):
        kind = {"max_tokens": LONG, "share_above": above}
        maps[f"share_above_{above}"] = FuseAdapterModule.fit(
            lm, encoder, words, cache_dir=cache, **kind, **FIT
        )
    whole = fuse[LONG]
    maps["float16"] = kept_as(whole, None, "float16")
    maps |= {f"rank_{rank}": kept_as(whole, rank, "float32") for rank in RANKS}
    maps["rank_128_float16_share_above_2"] = kept_as(maps["share_above_2"], 128, "float16")
    maps["ridge"] = RidgeMap.fit(lm, encoder, words, cache_dir=cache)
    maps["lookup"] = LookupMap.fit(lm, encoder, words, cache_dir=cache)
    return maps


def kept_as(whole: Any, rank: int | None, storage: str) -> FuseAdapterModule:
    """The same maps, kept as `adapter.rank` and `adapter.storage` would have them."""
    maps = {key: factored(whole.map(key), rank, storage) for key in whole.keys}
    settings = replace(whole.settings, rank=rank, storage=storage)
    return FuseAdapterModule(whole.source, whole.target, maps, settings)


def places(encoder: FrozenModel, files: Sequence[Path], count: int) -> Iterator[dict[str, Any]]:
    """Words of 1, 2, ... pieces in turn, each with the text around it and the sentence that follows."""
    texts = [line.split() for file in files for line in file.read_text("utf-8").splitlines()]
    lines = [text for text in texts if len(text) > 30]
    random.Random(0).shuffle(lines)
    different = sorted({word for line in lines for word in line if word.isascii() and word.isalpha()})
    ids = dict(zip(different, encoder.tokenizer.word_ids(different), strict=True))
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, line in enumerate(lines):
        at = [place for place in range(WINDOW, len(line) - 3 * WINDOW) if line[place] in ids]
        random.Random(number).shuffle(at)
        taken: set[int] = set()
        for place in at:
            pieces = min(len(ids[line[place]]), PIECES[-1])
            if pieces not in taken and len(found[pieces]) < count:
                taken.add(pieces)
                found[pieces].append(
                    {
                        "id": f"{number}/{place}",
                        "pieces": pieces,
                        "word": line[place],
                        "before": line[place - WINDOW : place],
                        "after": line[place + 1 : place + 1 + WINDOW],
                        "next": line[place + 1 + WINDOW : place + 1 + 3 * WINDOW],
                    }
                )
    for turn in range(count):
        yield from (found[pieces][turn] for pieces in PIECES if turn < len(found[pieces]))


def measure(
    place: dict[str, Any], maps: dict[str, EmbeddingMap], lm: FrozenModel, encoder: Any, candidates: int
) -> dict[str, Any]:
    """The rank correlation of every map for one token of one word."""
    draw = random.Random(place["id"])
    text = " ".join([*place["before"], place["word"], *place["after"]])
    (tokenized,) = lm.tokenizer.split([text])
    if lm.tokenizer.decode([tokenized.ids]) != [text]:
        raise UsageError("the text is not read back as it is written")
    start, stop = tokenized.spans[len(place["before"])]
    position = draw.randrange(start, stop)
    sample = draw.sample(range(lm.tokenizer.vocab_size), 2 * candidates)
    changed = [[*tokenized.ids[:position], token, *tokenized.ids[position + 1 :]] for token in sample]
    texts = lm.tokenizer.decode(changed)
    back = lm.tokenizer.encode(texts)
    kept = [row for row, own in enumerate(changed) if back[row] == own and texts[row].isprintable()][
        :candidates
    ]
    term = TextMatchTerm("text", encoder, maps["l4"])
    target = term.target(" ".join(place["next"]))
    problem = PromptProblem(lm, MultiObjectiveLoss({"text": term}), "", {"text": target})
    gradients = token_gradients(problem, [list(tokenized.ids)])
    ((_, gradient, alignment),) = gradients.traces
    with torch.no_grad():
        true = 1 - encoder.encode([texts[row] for row in kept]) @ target
    ids = torch.tensor([sample[row] for row in kept])
    scores = {}
    for name, one in maps.items():
        pulled = one.pull_tokens(gradient, alignment, [position])[:, 0]
        scores[name] = round(spearman(one.score_tokens(pulled)[0][ids], true), 4)
    return {"id": place["id"], "pieces": place["pieces"], "tokens": stop - start, "word": place["word"],
            "candidates": len(kept), "spearman": scores}  # fmt: skip


def summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and interval of every map's rank correlation, per number of pieces and over all; words are resampled."""
    groups = {"all": list(records)} | {str(n): [r for r in records if r["pieces"] == n] for n in PIECES}
    found: dict[str, Any] = {}
    for group, own in groups.items():
        for name in own[0]["spearman"] if own else ():
            interval = bootstrap_interval([r["spearman"][name] for r in own])
            ends = [None if end is None else round(end, 3) for end in (interval.low, interval.high)]
            found.setdefault(name, {})[group] = {"mean": round(interval.mean, 3), "interval": ends}
    return found


def paired(records: Sequence[dict[str, Any]], first: str, second: str, pieces: int | None) -> dict[str, Any]:
    """The mean of first minus second over the words of so many pieces, with an interval."""
    own = [r["spearman"] for r in records if pieces in (None, r["pieces"])]
    interval = bootstrap_interval([scores[first] - scores[second] for scores in own])
    return {
        "mean": round(interval.mean, 3),
        "interval": [round(end, 3) for end in interval.ends],
        "words": len(own),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Fidelity inside words of many tokens.")
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--folder", type=Path, default=Path("outputs/word_lengths"))
    parser.add_argument("--words", type=int, default=24, help="per number of pieces")
    parser.add_argument("--candidates", type=int, default=120)
    given = parser.parse_args()
    kept = given.folder / "records.jsonl"
    records = read(kept)
    done = {record["id"] for record in records}
    lm, encoder = load("lm", "vision", overrides=("experiment=demo", "model@models.vision=minilm"))
    maps = fitted_maps(lm, encoder)
    for place in places(encoder, given.texts, given.words):
        if place["id"] in done:
            continue
        try:
            record = measure(place, maps, lm, encoder, given.candidates)
        except UsageError as error:
            print(f"{place['id']} is left out: {error}")
            continue
        records.append(record)
        append(kept, record)
    stored = {name: one.stored_bytes() for name, one in maps.items() if isinstance(one, FuseAdapterModule)}
    others = [name for name in maps if name not in ("l4", "l8")]
    report("word_lengths", {
        "words": len(records), "bytes": stored, "spearman": summary(records),
        "l8_minus_l4": {str(n): paired(records, "l8", "l4", n) for n in PIECES},
        "minus_l8": {name: paired(records, name, "l8", None) for name in others},
    })  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except (UsageError, OSError) as error:
        sys.exit(f"word_lengths: {error}")
