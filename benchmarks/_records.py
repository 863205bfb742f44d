"""Records in a file, one line each, so that a measurement that was stopped goes on where it was."""

import json
from pathlib import Path
from typing import Any


def read(kept: Path) -> list[dict[str, Any]]:
    """The records so far; a line that was cut off is said, and measured again."""
    found = []
    for line in kept.read_text("utf-8").splitlines() if kept.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            print(f"{kept}: a line that was cut off is left out, and measured again")
    return found


def append(kept: Path, record: dict[str, Any]) -> None:
    """Add one record, on a line of its own even where the last one was cut off."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    whole = not kept.exists() or kept.read_bytes()[-1:] in (b"", b"\n")
    with kept.open("a", encoding="utf-8") as stream:
        stream.write(("" if whole else "\n") + json.dumps(record) + "\n")
