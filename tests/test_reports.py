"""The tests that tests/reports.md names are there; that they pass, the suite shows."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_every_test_that_the_page_names_is_there() -> None:
    page, file = (TESTS / "reports.md").read_text(encoding="utf-8"), ""
    named = []
    for path, name in re.findall(r"`([\w/]*(?:\.py)?)::(test_\w+)`", page):
        file = path or file
        named.append((file, name))
    assert len(named) > 10
    for path, name in named:
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (path, name)


def test_every_row_has_a_test_or_says_what_is_open() -> None:
    rows = [
        line
        for line in (TESTS / "reports.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| [")
    ]
    assert len(rows) > 10
    for row in rows:
        here = row.rsplit(" | ", 1)[1]
        assert "::test_" in here or "open: issue on" in here, row
