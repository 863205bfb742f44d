"""The main metrics of a run, whatever it ran: what tables and plots of a sweep compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from fuse_repro.metrics.captions import NAMES

Record = Mapping[str, Any]
CAPTION_METRICS = (*NAMES, "SPICE")  # in percent
COUNTS = ("items", "left_out")
PERCENT = ", percent"  # the end of a metric's name that is in percent


@dataclass(frozen=True, order=True)
class Measure:
    """One number of a run.

    Attributes:
        metric: its name with its unit.
        line: the method it belongs to, or "" where the run has only one.
        replicates: one value per seed of the run, at least one.
    """

    metric: str
    line: str
    replicates: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.replicates)


def measures(records: Sequence[Record], results: Mapping[str, Any]) -> list[Measure]:
    """What the run has so far; empty where nothing is done yet.

    Captions: mean objective, its terms and the caption metrics (percent). Transfer: precision@1 (percent) of
    every method. Fidelity: rank correlation and recall of every method. Known truth: the gradient's error.
    """
    done = [record for record in records if record.get("status") == "done"]
    if not done:
        return []
    if done[0].get("kind") == "fidelity":
        return list(_fidelity(results))
    if done[0].get("kind") == "known_truth":
        return list(_known_truth(results))
    if "method" in done[0]:
        return _transfer(done)
    if results.get("runner") == "answers" and "prompts" in results:
        return list(_answers(results))
    if "row" in done[0]:
        return list(_answers_table(done, results))
    if "sentiment" in done[0]:
        return list(_sentiments(done, results))
    if "objective" in done[0]:
        return [*_captions(done), *_scores(results)]
    return _scores(results)


def _sentiments(done: Sequence[Record], results: Mapping[str, Any]) -> Iterable[Measure]:
    """As captions, one line per sentiment; accuracy is the percentage that the held-out judge finds right."""
    for sentiment in dict.fromkeys(str(record["sentiment"]) for record in done):
        own = (results.get("sentiments") or {}).get(sentiment) or {}
        found = [*_captions([record for record in done if record["sentiment"] == sentiment]), *_scores(own)]
        yield from (replace(measure, line=sentiment) for measure in found)
        judged = own.get("judged") or {}
        if _is_number(judged.get("accuracy")):
            yield Measure(f"accuracy{PERCENT}", sentiment, (100 * float(judged["accuracy"]),))


def _transfer(done: Sequence[Record]) -> list[Measure]:
    """Every method's mean over tasks, one value per seed."""
    found = []
    for method in dict.fromkeys(record["method"] for record in done):
        cells = [cell for cell in done if cell["method"] == method]
        seeds = dict.fromkeys(cell.get("seed") for cell in cells)
        means = [fmean(cell["accuracy"] for cell in cells if cell.get("seed") == seed) for seed in seeds]
        found.append(Measure(f"precision@1{PERCENT}", str(method), tuple(100 * mean for mean in means)))
    return found


def _answers(results: Mapping[str, Any]) -> Iterable[Measure]:
    """Right answers with every prompt: the mean over the models that it was searched with, and every unseen model."""
    for name, by_role in results["prompts"].items():
        for role in ("mean", *results["unseen"]):
            what = "" if role == "mean" else f", {results['models'][role]} (unseen)"
            yield Measure(f"right answers{what}{PERCENT}", str(name), (100 * by_role[role]["mean"],))


def _answers_table(done: Sequence[Record], results: Mapping[str, Any]) -> Iterable[Measure]:
    """Every row's mean over tasks and over the models that were searched with, one value per seed."""
    searched = results.get("searched") or []
    whole = [record for record in done if searched and all(role in record["accuracy"] for role in searched)]
    for row in dict.fromkeys(record["row"] for record in whole):
        seeds: dict[Any, list[float]] = {}
        for record in whole:
            if record["row"] == row:
                share = fmean(record["accuracy"][role] for role in searched)
                seeds.setdefault(record["seed"], []).append(share)
        yield Measure(
            f"right answers{PERCENT}", str(row), tuple(100 * fmean(values) for values in seeds.values())
        )


def _fidelity(results: Mapping[str, Any]) -> Iterable[Measure]:
    """Every method's means over pairs, objectives and prompt lengths, each counting once."""
    for name in ("spearman", "recall"):
        for method, row in (results.get("methods") or {}).items():
            keys = [key for key in row if key.split("@")[0] == name]
            if keys and _is_number(row[keys[-1]].get("mean")):
                metric = {"spearman": "Spearman"}.get(keys[-1], keys[-1])
                yield Measure(metric, str(method), (float(row[keys[-1]]["mean"]),))


def _known_truth(results: Mapping[str, Any]) -> Iterable[Measure]:
    """Every map's relative error of the gradient without noise, per truth."""
    for truth, found in (results.get("truths") or {}).items():
        for method, row in found["base"].items():
            if row.get("gradient"):
                yield Measure(f"gradient error, {truth}", str(method), (float(row["gradient"]["mean"]),))


def _captions(done: Sequence[Record]) -> Iterable[Measure]:
    yield from _mean("mean objective", (record["objective"] for record in done))
    for name in done[0].get("terms") or {}:
        yield from _mean(f"{name} (raw)", (record["terms"].get(name, {}).get("raw") for record in done))


def _mean(metric: str, values: Iterable[Any]) -> Iterable[Measure]:
    known = [float(value) for value in values if _is_number(value)]
    if known:
        yield Measure(metric, "", (fmean(known),))


def _scores(results: Mapping[str, Any]) -> list[Measure]:
    return [Measure(f"{name}{PERCENT}", "", (value,)) for name, value in metrics_in_percent(results).items()]


def metrics_in_percent(results: Mapping[str, Any]) -> dict[str, float]:
    """The metrics against references, in percent as the papers' tables have them.

    Runs of before `metrics_unit` was written have caption metrics as shares (and CIDEr on the same scale).
    """
    as_shares = results.get("metrics_unit") != "percent"
    found = {}
    for name, value in (results.get("metrics") or {}).items():
        if _is_number(value) and name not in COUNTS:
            scale = 100 if as_shares and name in CAPTION_METRICS else 1
            found[name] = scale * float(value)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
