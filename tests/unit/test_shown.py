"""Text from outside is shown and never obeyed: on a terminal, in a bar, in files."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from fuse_repro import progress
from fuse_repro.shown import cell, say, shown, visible, visible_values

ODD = "a[/x]\x1b[31m\u202eb\udcff\x00"
SHOWN = r"a[/x]\x1b[31m\u202eb\udcff\x00"


def test_what_is_not_safe_is_escaped_and_the_rest_is_left() -> None:
    assert shown(ODD) == visible(ODD) == SHOWN
    assert shown("one\ntwo\tthree\u2028four\u00a0five") == "one two three four five"
    assert (
        visible("one\ntwo\t\u05d0 \U0001f469\u200d\U0001f4bb")
        == "one\ntwo\t\u05d0 \U0001f469\u200d\U0001f4bb"
    )
    assert shown("\u067e\u200c\u05d0 caf\u00e9") == "\u067e\u200c\u05d0 caf\u00e9"
    assert all(shown(chr(code)).isprintable() or code in (0x200C, 0x200D) for code in range(0x3000))
    assert all(visible(chr(code)).encode() for code in range(0xD7FF, 0xE001))
    assert visible_values({ODD: [ODD, 1, None]}) == {SHOWN: [SHOWN, 1, None]}


def test_a_cell_is_no_markup() -> None:
    table = Table("head")
    table.add_row(cell(ODD))
    console = Console(width=60)
    with console.capture() as capture:
        console.print(table)
    assert SHOWN in capture.get()


def test_what_is_said_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{ODD}\nmore")
    assert capsys.readouterr().err == f"fuse-repro: {SHOWN} more\n"


@pytest.mark.parametrize("total", [None, 3])
def test_a_bar_for_a_name_with_markup_is_drawn(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closing tag without its opening one ended the whole run."""
    target = io.StringIO()
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    monkeypatch.setattr(
        progress, "Console", lambda file: Console(file=target, force_terminal=True, width=120)
    )
    with progress.bar(f"searching for {ODD}", total) as advance:
        advance(1.0)
    assert f"searching for {SHOWN}" in target.getvalue()
