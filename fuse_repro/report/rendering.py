"""Pages from templates: every value is escaped, and a name that a template lacks is an error."""

import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fuse_repro.report import formats
from fuse_repro.shown import visible

REPORT = "report.html"


@cache
def environment() -> Environment:
    """The templates of this package, with autoescape, and the filters of `formats`."""
    found = Environment(
        loader=PackageLoader("fuse_repro.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": formats.number, "percent": formats.percent, "moment": formats.moment}
    found.filters |= {"links": formats.links, "indented_json": indented_json}
    found.tests["estimate"] = lambda value: isinstance(value, formats.Estimate)
    style = resources.files("fuse_repro.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    found.globals["style"] = Markup(style)
    return found


def render(template: str, **values: Any) -> str:
    """The page that this template makes of these values, with what is not safe to show in it as escapes."""
    return visible(environment().get_template(template).render(**values))


def indented_json(value: Any) -> str:
    """The value as JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)
