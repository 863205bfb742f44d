"""report.html: one file about one run, without scripts and without anything fetched from elsewhere."""

from importlib import resources
from pathlib import Path

from fuse_repro.progress import track
from fuse_repro.report.cards import card
from fuse_repro.report.markup import Html, element, join
from fuse_repro.report.summary import banner, contents, header, tiles, title
from fuse_repro.report.transfer import is_transfer, transfer_body
from fuse_repro.run_directory import MANIFEST, RESULTS, STATUS, read_json, read_records, write_text

REPORT = "report.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched, nothing runs


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
            transfer_body(records, results) if is_transfer(records) else _captions(records, results),
            None if records else element("p", "No item was recorded.", class_="hint"),
        ),
        element("footer", "Made by fuse_repro from the files beside this page."),
    ]
    write_text(path / REPORT, _document(title(path.absolute(), manifest), body))
    return path / REPORT


def _captions(records: list[dict], results: dict) -> Html:
    """Tiles, an overview, and a card for every photograph."""
    cards = [card(record, place) for place, record in enumerate(track(records, "writing the report"))]
    return join([tiles(records, results), contents(records), *cards])


def _document(name: str, body: list[Html]) -> str:
    style = resources.files("fuse_repro.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{name}: report"),
        element("style", Html(style)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', join(body)), lang='en')}\n"
