"""The top of the page: what was run, when and on what, and the numbers that sum it up."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fuse_repro.report.cards import anchor
from fuse_repro.report.markup import Html, element, folded, join, moment, number, table

PREFIX_POLICIES = {
    "strip": "The prefix was removed from the captions before they were compared.",
    "keep": "The captions were compared with their prefix.",
}


def header(path: Path, manifest: Mapping[str, Any]) -> Html:
    """Name, date, commit, seed and device; config, versions and weights folded away."""
    config = manifest.get("config") or {}
    machine = manifest.get("machine") or {}
    commit = manifest.get("git_commit")
    device = manifest.get("device") or ""
    facts = {
        "Date": moment(manifest.get("created")),
        "Seed": number(manifest.get("seed")),
        "Device": f"{device} ({machine['device']})" if machine.get("device") else device,
        "Commit": element("code", commit[:10] + ("-dirty" if commit.endswith("-dirty") else ""))
        if commit
        else "none",
    }
    listed = [element("div", element("dt", name), element("dd", fact)) for name, fact in facts.items()]
    return element(
        "header",
        element("p", path.name, class_="eyebrow"),
        element("h1", title(path, manifest)),
        element("dl", *listed, class_="facts"),
        folded("Config", element("pre", json.dumps(config, indent=2, ensure_ascii=False))),
        folded("Versions, machine and weights", _origins(manifest)),
    )


def title(path: Path, manifest: Mapping[str, Any]) -> str:
    """The run's name in its config, or else its directory's."""
    return str((manifest.get("config") or {}).get("name") or path.name)


def banner(status: Mapping[str, Any] | None, done: int) -> Html | None:
    """A note where the run has not ended well; None where it has."""
    state = (status or {}).get("state")
    if status is None or state == "done":
        return None
    if state == "failed":
        trace = status.get("traceback")
        details = folded("Traceback", element("pre", trace)) if trace else None
        error = element("p", status.get("error") or "No reason was recorded.", class_="error")
        return element("section", element("h2", "The run failed"), error, details, class_="banner failed")
    text = f"The run had not ended on {moment(status.get('updated'))}; {done} done so far."
    return element("section", element("p", text), class_="banner")


def tiles(records: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> Html:
    """Items done and failed, the mean objective and its terms, and the caption metrics."""
    done = [record for record in records if record.get("status") == "done"]
    values = [
        tile(str(len(done)), "done"),
        tile(str(len(records) - len(done)), "failed", "alarm" if len(records) > len(done) else None),
    ]
    if done:
        values.append(tile(_mean(record["objective"] for record in done), "mean objective"))
        values += [_term_tile(name, done) for name in done[0]["terms"]]
    seconds = (results.get("timing") or {}).get("seconds_per_item")
    if seconds is not None:
        values.append(tile(f"{number(seconds, 1)} s", "per item"))
    return element(
        "section", element("div", *values, class_="tiles"), _metrics(results), aria_label="Summary"
    )


def contents(records: Sequence[Mapping[str, Any]]) -> Html | None:
    """Every caption in one table with links to the cards; None for a handful."""
    if len(records) <= 4:
        return None
    rows = []
    for place, record in enumerate(records):
        link = element("a", record.get("id", ""), href=f"#{anchor(place)}")
        text = record.get("caption") if record.get("status") == "done" else f"failed: {record.get('error')}"
        rows.append([link, text, number(record.get("objective"))])
    listing = element(
        "div", table(["item", "caption", "objective"], rows, class_="contents"), class_="scroll"
    )
    return folded(f"All {len(records)} captions at a glance", listing)


def tile(value: str, label: str, class_: str | None = None, note: str | None = None) -> Html:
    """One number and what it is."""
    small = element("span", note, class_="note") if note else None
    parts = [element("span", value, class_="value"), element("span", label, class_="label"), small]
    return element("div", *parts, class_=f"tile {class_}" if class_ else "tile")


def _term_tile(name: str, done: Sequence[Mapping[str, Any]]) -> Html:
    terms = [record["terms"][name] for record in done if name in record["terms"]]
    raw, weighted = (_mean(term[kind] for term in terms) for kind in ("raw", "weighted"))
    return tile(weighted, f"mean {name}", note=f"weighted; raw {raw}")


def _mean(values: Iterable[float | None]) -> str:
    """The mean of the values that are there, as text."""
    known = [value for value in values if value is not None]
    return number(fmean(known) if known else None)


def _compared(results: Mapping[str, Any]) -> str:
    inverted = results.get("runner") == "invert"
    return "Against the texts to be found" if inverted else "Against the captions people wrote"


def _metrics(results: Mapping[str, Any]) -> Html | None:
    scores, note = results.get("metrics") or {}, results.get("metrics_note")
    if not scores and not note:
        return None
    values = [tile(number(value), name) for name, value in scores.items() if isinstance(value, float)]
    notes = [note] if note else [PREFIX_POLICIES.get(results.get("prefix_policy", ""), "")]
    if "items" in scores:
        left_out = f", {scores['left_out']} without references left out" if scores.get("left_out") else ""
        notes.append(f"{scores['items']} items{left_out}.")
    return join(
        [
            element("h2", _compared(results), class_="section"),
            element("div", *values, class_="tiles small") if values else None,
            element("p", " ".join(notes), class_="hint"),
        ]
    )


def _origins(manifest: Mapping[str, Any]) -> Html:
    machine = {str(name): str(value) for name, value in (manifest.get("machine") or {}).items()}
    versions = {
        str(name): str(value or "not installed") for name, value in (manifest.get("versions") or {}).items()
    }
    files = {
        f"{model}: {file}": element("code", digest)
        for model, hashes in (manifest.get("weights") or {}).items()
        for file, digest in hashes.items()
    }
    whole = {
        "git commit": str(manifest.get("git_commit") or "none"),
        "config hash": str(manifest.get("config_hash")),
    }
    rows = (versions | machine | whole | files).items()
    return element("div", table(["what", "value"], rows, class_="origins"), class_="scroll")
