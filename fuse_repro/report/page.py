"""report.html: one file about one run, without scripts and without anything fetched from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.data.photo_folder import counted
from fuse_repro.report.measures import measures
from fuse_repro.report.pages.answers import answers_content, is_answers
from fuse_repro.report.pages.answers_table import answers_table_content, is_answers_table
from fuse_repro.report.pages.captions import captions_content
from fuse_repro.report.pages.fidelity import fidelity_content, is_fidelity
from fuse_repro.report.pages.header import banner, header
from fuse_repro.report.pages.inversion import inversion_content, is_inversion
from fuse_repro.report.pages.known_truth import is_known_truth, known_truth_content
from fuse_repro.report.pages.maps import is_maps, maps_content
from fuse_repro.report.pages.move import is_move, move_content
from fuse_repro.report.pages.paper import paper_table
from fuse_repro.report.pages.parts import Record
from fuse_repro.report.pages.sentiment import is_sentiment, sentiment_content
from fuse_repro.report.pages.transfer import is_transfer, transfer_content
from fuse_repro.report.readable import readable
from fuse_repro.report.rendering import REPORT, render
from fuse_repro.runs.directory import MANIFEST, RECORDS, STATUS
from fuse_repro.runs.files import read_json, write_text
from fuse_repro.runs.look import RunFiles, look_at

Content = Callable[[Sequence[Record], Mapping[str, Any]], dict[str, Any]]
KINDS: Sequence[tuple[Callable[[Sequence[Record], Mapping[str, Any]], bool], str, Content]] = (
    (is_fidelity, "fidelity.html.j2", fidelity_content),
    (is_known_truth, "known_truth.html.j2", known_truth_content),
    (is_maps, "maps.html.j2", maps_content),
    (is_move, "move.html.j2", move_content),
    (is_transfer, "transfer.html.j2", transfer_content),
    (is_sentiment, "sentiment.html.j2", sentiment_content),
    (is_answers_table, "answers_table.html.j2", answers_table_content),
    (is_answers, "answers.html.j2", answers_content),
    (is_inversion, "captions.html.j2", inversion_content),
)


def build_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` from the manifest, status, records and results there.

    A run that failed or still goes on has a report of what it has so far; one whose files are damaged, of what can be
    read, with a line on everything else.

    Args:
        run_dir: the run directory.

    Returns:
        The path of the report.

    Raises:
        UsageError: if `run_dir` is not a run directory, or cannot be written.
    """
    path = Path(run_dir)
    if not any((path / name).exists() for name in (STATUS, RECORDS)):
        read_json(path / MANIFEST)
    files = look_at(path)
    tried: list[str] = []

    def show(records: Sequence[Record], results: Mapping[str, Any]) -> None:
        tried.append(_page(path, files, files.damage, records, results))

    records, results, odd = readable(show, files.records, files.results)
    page = _page(path, files, [*files.damage, *odd], records, results) if odd or not tried else tried[0]
    write_text(path / REPORT, page)
    return path / REPORT


def _page(
    path: Path,
    files: RunFiles,
    damage: Sequence[str],
    records: Sequence[Record],
    results: Mapping[str, Any],
) -> str:
    template, content = _kind(records, results)
    return render(
        template,
        run=header(path.absolute(), files.manifest),
        damage=damage,
        banner=banner(files.status, sum(record.get("status") == "done" for record in records)),
        content=content(records, results),
        paper=paper_table([(files.manifest.get("config") or {}, measures(records, results))]),
        not_read=counted(results.get("not_read") or {}),
        empty=not records,
    )


def _kind(records: Sequence[Record], results: Mapping[str, Any]) -> tuple[str, Content]:
    """The template of this kind of run, and what gives it its data; captions where nothing is known yet."""
    for is_kind, template, content in KINDS:
        if is_kind(records, results):
            return template, content
    return "captions.html.j2", captions_content
