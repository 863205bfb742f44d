r"""Text from outside, such as file names, captions and messages, as it is shown: none of it is obeyed, none is hidden.

What a terminal would obey (control characters), what turns the order of the letters round it (bidi overrides and
isolates) and what no file can hold (lone surrogates, which stand for the bytes of a file name that are no UTF-8) is
written as an escape: \x1b, \u202e, \udcff.
"""

import re
import sys
from typing import Any

from rich.text import Text

ESCAPED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
BREAKS = "\t\n\r\u2028\u2029"
JOINERS = "\u200c\u200d"  # of Persian words and of emoji


def visible(text: str) -> str:
    """The text for a file or a page: line feeds and tabs stay, what is not safe to show is escaped."""
    return ESCAPED.sub(lambda found: _escape(found[0]), text)


def shown(value: object) -> str:
    """The value as one line for a terminal: breaks become spaces, and what is not printable is escaped."""
    return "".join(
        letter
        if letter.isprintable() or letter in JOINERS
        else " "
        if letter in BREAKS or (letter.isspace() and not ESCAPED.match(letter))
        else _escape(letter)
        for letter in str(value)
    )


def cell(value: object, style: str = "") -> Text:
    """The value as one line for rich, which takes markup such as [bold] in plain strings, and not in this."""
    return Text(shown(value), style=style)


def visible_values(value: Any) -> Any:
    """A copy of a JSON value with all of its texts, keys included, as `visible` has them."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible_values(key): visible_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [visible_values(item) for item in value]
    return value


def say(line: object, by: str = "fuse-repro") -> None:
    """Print one line on standard error, with who says it."""
    print(f"{by}: {shown(line)}", file=sys.stderr)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
