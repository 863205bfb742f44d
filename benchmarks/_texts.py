"""Running text from files that others ship: plain text, or the paragraphs of web pages in one script."""

import unicodedata
from html.parser import HTMLParser
from pathlib import Path

from fuse_repro.errors import UsageError

BLOCKS = {"p", "div", "section", "li", "dt", "dd", "td", "th", "br", "h1", "h2", "h3", "h4", "h5", "h6"}
NO_TEXT = {"head", "script", "style", "pre"}
SHARE = 0.8  # of a paragraph's letters in the script that is asked for
UNKNOWN = "<unk>"  # WikiText's word for a rare one


class _Paragraphs(HTMLParser):
    """Collects the text between the tags that begin or end a block."""

    def __init__(self) -> None:
        super().__init__()
        self.found = [""]
        self._closed = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._closed += tag in NO_TEXT
        if tag in BLOCKS:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._closed -= tag in NO_TEXT
        if tag in BLOCKS:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self._closed == 0:
            self.found[-1] += data


def running_words(path: Path, script: str | None = None) -> list[str]:
    """The words of a text, in their order.

    Args:
        path: a text file, an HTML file, or a folder of HTML files.
        script: the first word of its letters' Unicode names, such as CYRILLIC: other paragraphs are left out.

    Raises:
        UsageError: no such file, or no text in it.
    """
    files = sorted(path.rglob("*.html")) if path.is_dir() else [path]
    paragraphs: list[str] = []
    for file in files:
        try:
            text = file.read_text("utf-8")
        except OSError as error:
            raise UsageError(
                f"{file} cannot be read ({error.strerror}): give NAME=FILE or NAME:SCRIPT=FILE"
            ) from error
        paragraphs += _of_page(text) if file.suffix == ".html" else text.splitlines()
    kept = [one for one in paragraphs if script is None or share_of(one, script) >= SHARE]
    words = [word for one in kept for word in one.split() if word != UNKNOWN]
    if not words:
        raise UsageError(f"{path} holds no text of script {script}: give another file or script")
    return words


def share_of(text: str, script: str) -> float:
    """Which share of the letters belongs to a script."""
    letters = [letter for letter in text if letter.isalpha()]
    own = sum(unicodedata.name(letter, "").split(" ")[0] == script for letter in letters)
    return own / len(letters) if letters else 0.0


def _of_page(text: str) -> list[str]:
    page = _Paragraphs()
    page.feed(text)
    return page.found
