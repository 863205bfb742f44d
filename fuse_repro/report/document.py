"""The frame of every page: one file without scripts and without anything fetched from elsewhere."""

from collections.abc import Sequence
from importlib import resources

from fuse_repro.report.markup import Html, element, join

REPORT = "report.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched, nothing runs


def document(name: str, body: Sequence[Html]) -> str:
    """A whole page with this body."""
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
