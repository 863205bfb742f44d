"""A part of a page as its template shows it."""

from typing import Any

from fuse_repro.report.rendering import environment
from fuse_repro.shown import visible


def rendered(template: str, macro: str, *values: Any) -> str:
    """What this macro of a template makes of these values."""
    return visible(getattr(environment().get_template(template).module, macro)(*values)).strip()
