"""report.html: one file about one run, without scripts and without anything fetched from elsewhere."""

from pathlib import Path

from fuse_repro.progress import track
from fuse_repro.report.cards import card
from fuse_repro.report.document import REPORT, document
from fuse_repro.report.fidelity import fidelity_body, is_fidelity
from fuse_repro.report.maps import is_maps, maps_body
from fuse_repro.report.markup import Html, element, join
from fuse_repro.report.measures import measures
from fuse_repro.report.paper import paper_section
from fuse_repro.report.sentiment import sentiment_table
from fuse_repro.report.summary import banner, contents, header, tiles, title
from fuse_repro.report.transfer import is_transfer, transfer_body
from fuse_repro.runs.directory import MANIFEST, RESULTS, STATUS, read_json, read_records, write_text


def build_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` from the manifest, status, records and results there; returns its path.

    A run that failed or still goes on has a report of what it has so far.

    Raises:
        UsageError: if `run_dir` is not a run directory, is damaged, or cannot be written.
    """
    path = Path(run_dir)
    manifest = read_json(path / MANIFEST)
    status = read_json(path / STATUS) if (path / STATUS).exists() else None
    results = read_json(path / RESULTS) if (path / RESULTS).exists() else {}
    records = read_records(path)
    done = sum(record.get("status") == "done" for record in records)
    body = [
        header(path.absolute(), manifest),
        element(
            "main",
            banner(status, done),
            _body(records, results),
            paper_section([(manifest.get("config") or {}, measures(records, results))]),
            None if records else element("p", "No item was recorded.", class_="hint"),
        ),
        element("footer", "Made by fuse_repro from the files beside this page."),
    ]
    write_text(path / REPORT, document(title(path.absolute(), manifest), body))
    return path / REPORT


def _body(records: list[dict], results: dict) -> Html:
    if is_fidelity(records):
        return fidelity_body(records, results)
    if is_maps(records):
        return maps_body(records)
    return transfer_body(records, results) if is_transfer(records) else _captions(records, results)


def _captions(records: list[dict], results: dict) -> Html:
    """Tiles, an overview, and a card for every photograph."""
    cards = [card(record, place) for place, record in enumerate(track(records, "writing the report"))]
    return join([tiles(records, results), contents(records), _sentiments(records), *cards])


def _sentiments(records: list[dict]) -> Html | None:
    """The captions of every photograph with and without sentiment; None where none was asked for."""
    rows = sentiment_table(records)
    if not rows:
        return None
    return element(
        "section",
        element("h2", "With and without sentiment", class_="section"),
        element("div", rows, class_="scroll"),
        class_="card",
    )
