"""The figures of a page as files for a paper: each as PDF and PNG, in print colours, with its legend inside."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuse_repro.errors import UsageError, first_line
from fuse_repro.shown import shown

FORMATS = ("pdf", "png")
DOTS_PER_INCH = 200
LONGEST = 60  # characters of a file's name
COLOURS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


@dataclass
class Album:
    """Where figures are written.

    Attributes:
        folder: of the files.
        written: the files so far.
    """

    folder: Path
    written: list[Path] = field(default_factory=list)

    def keep(self, figure: Any, name: str) -> None:
        """Write one figure in every format. Raises UsageError where a file cannot be written."""
        from matplotlib import rc_context

        words = re.sub(r"[^A-Za-z0-9.@=-]+", "-", shown(name)).strip("-.")[:LONGEST] or "figure"
        stem = f"{len(self.written) // len(FORMATS) + 1:02d}-{words}"
        for kind in FORMATS:
            path = self.folder / f"{stem}.{kind}"
            about = {"CreationDate": None} if kind == "pdf" else {"Software": None}
            try:
                with rc_context({"pdf.fonttype": 42}):  # letters, not outlines: journals ask for them
                    figure.savefig(path, format=kind, dpi=DOTS_PER_INCH, metadata=about)
            except OSError as error:
                raise UsageError(
                    f"{path} cannot be written ({first_line(error)}): give another folder"
                ) from error
            self.written.append(path)


_album: ContextVar[Album | None] = ContextVar("album", default=None)


@contextmanager
def figures_in(folder: Path) -> Iterator[Album]:
    """Every figure that is drawn meanwhile is also written to a folder, which is made if missing.

    Raises:
        UsageError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({first_line(error)}): give another folder") from error
    token = _album.set(Album(folder))
    try:
        album = _album.get()
        assert album is not None
        yield album
    finally:
        _album.reset(token)


def export(figure: Any, axes: Any, colours: Mapping[str, str], handles: Sequence[Any]) -> None:
    """Write a figure that is drawn for a page, if figures are asked for.

    Args:
        figure: named by its label.
        axes: its axes.
        colours: what the page's colours are in print, as hex.
        handles: lines with their names, for a legend; none for a single series.
    """
    album = _album.get()
    if album is None:
        return
    axes.set_title(shown(figure.get_label()), fontsize="medium", loc="left", wrap=True)
    if handles:
        axes.legend(handles=handles, fontsize="small", frameon=False)
    _recolour(figure, colours)
    album.keep(figure, figure.get_label())


def _recolour(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.colors import to_hex

    for artist in figure.findobj():
        for name in COLOURS:
            read, write = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if read is None or write is None:
                continue
            try:
                known = colours.get(to_hex(read()))
            except (TypeError, ValueError):  # several colours at once, or none
                values = read()
                known = colours.get(to_hex(values[0])) if len(values) == 1 else None
            if known is not None:
                alpha = artist.get_alpha()
                write(known)
                artist.set_alpha(alpha)
