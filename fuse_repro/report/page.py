"""report.html: one file about one run, without scripts and without anything fetched from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.report.measures import measures
from fuse_repro.report.pages.captions import captions_content
from fuse_repro.report.pages.fidelity import fidelity_content, is_fidelity
from fuse_repro.report.pages.header import banner, header
from fuse_repro.report.pages.inversion import inversion_content, is_inversion
from fuse_repro.report.pages.maps import is_maps, maps_content
from fuse_repro.report.pages.paper import paper_table
from fuse_repro.report.pages.parts import Record
from fuse_repro.report.pages.sentiment import is_sentiment, sentiment_content
from fuse_repro.report.pages.transfer import is_transfer, transfer_content
from fuse_repro.report.rendering import REPORT, render
from fuse_repro.runs.directory import MANIFEST, RESULTS, STATUS, read_json, read_records, write_text

Content = Callable[[Sequence[Record], Mapping[str, Any]], dict[str, Any]]
KINDS: Sequence[tuple[Callable[[Sequence[Record], Mapping[str, Any]], bool], str, Content]] = (
    (is_fidelity, "fidelity.html.j2", fidelity_content),
    (is_maps, "maps.html.j2", maps_content),
    (is_transfer, "transfer.html.j2", transfer_content),
    (is_sentiment, "sentiment.html.j2", sentiment_content),
    (is_inversion, "captions.html.j2", inversion_content),
)


def build_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` from the manifest, status, records and results there.

    A run that failed or still goes on has a report of what it has so far.

    Args:
        run_dir: the run directory.

    Returns:
        The path of the report.

    Raises:
        UsageError: if `run_dir` is not a run directory, is damaged, or cannot be written.
    """
    path = Path(run_dir)
    manifest = read_json(path / MANIFEST)
    status = read_json(path / STATUS) if (path / STATUS).exists() else None
    results = read_json(path / RESULTS) if (path / RESULTS).exists() else {}
    records = read_records(path)
    template, content = _kind(records, results)
    page = render(
        template,
        run=header(path.absolute(), manifest),
        banner=banner(status, sum(record.get("status") == "done" for record in records)),
        content=content(records, results),
        paper=paper_table([(manifest.get("config") or {}, measures(records, results))]),
        empty=not records,
    )
    write_text(path / REPORT, page)
    return path / REPORT


def _kind(records: Sequence[Record], results: Mapping[str, Any]) -> tuple[str, Content]:
    """The template of this kind of run, and what gives it its data; captions where nothing is known yet."""
    for is_kind, template, content in KINDS:
        if is_kind(records, results):
            return template, content
    return "captions.html.j2", captions_content
