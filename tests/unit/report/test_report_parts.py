"""The pieces of a report: escaping, numbers, charts, and the winning path through the beam."""

import math
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup
from rendered import rendered
from report_samples import STEPS, hypothesis

from fuse_repro.report.formats import MISSING, Estimate, estimate, limits, links, moment, number, percent
from fuse_repro.report.pages.beam import added, beam_path, shortened, winning_path
from fuse_repro.report.plots.loss_curve import _draw, best_of_beam
from fuse_repro.report.plots.loss_curve import loss_chart as loss_curve
from fuse_repro.report.rendering import environment
from fuse_repro.shown import visible


class Reader(HTMLParser):
    """Collects what a browser would: text, tag names and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.attributes = "", [], []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


def beam_section(*values: Any) -> str | None:
    beam = beam_path(*values)
    return None if beam is None else rendered("beam.html.j2", "beam_section", beam)


def loss_chart(*values: Any) -> str | None:
    chart = loss_curve(*values)
    return None if chart is None else rendered("plots.html.j2", "chart", chart)


@given(st.text(alphabet=st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_any_text_comes_back_and_makes_no_tag(text: str) -> None:
    template = environment().from_string('<p title="{{ text }}">{{ text }}</p>')
    reader = read(template.render(text=text))
    assert (reader.text, reader.tags, reader.attributes) == (text, ["p"], [("title", text)])


@given(st.text())
def test_every_text_can_be_written_to_a_file(text: str) -> None:
    visible(text).encode()


def test_elements() -> None:
    """Text is escaped in content and in attributes, and what a template made is not escaped again."""
    template = environment().from_string(
        '{% macro b(text) %}<b>{{ text }}</b>{% endmacro %}{{ b("<") }}{{ "&" }}'
    )
    nested = template.render()
    assert nested == "<b>&lt;</b>&amp;"
    assert isinstance(template.module.b("<"), Markup)  # type: ignore[attr-defined]
    link = rendered("plots.html.j2", "chart", {"label": '"', "svg": Markup("<svg></svg>")})
    assert link == '<div class="chart" role="img" aria-label="&#34;"><svg></svg></div>'


def test_a_name_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'absent' is undefined"):
        environment().from_string("{{ absent }}").render()


def test_addresses_become_links_and_nothing_else_does() -> None:
    origin = links('NASA, https://example.org/a?b=1&c=2, <i> javascript:alert(1) http://x.org/"onclick="y')
    markup = rendered("cards.html.j2", "photo", {"pictures": [], "origin": [origin]})
    reader = read(markup)
    found = [value for name, value in reader.attributes if name == "href"]
    assert found == ["https://example.org/a?b=1&c=2", "http://x.org/"]
    assert set(reader.tags) == {"figure", "figcaption", "a"}
    assert {name for name, _ in reader.attributes} == {"href", "rel"}
    assert reader.text.strip() == ('NASA, example.org/a?b=1&c=2, <i> javascript:alert(1) x.org"onclick="y')


def test_a_mean_without_an_interval_stands_alone() -> None:
    assert estimate({"mean": 0.5, "low": 0.25, "high": 0.75}, 1, 100) == Estimate("50.0", "25.0 to 75.0")
    for found in ({"low": None, "high": None}, {}, {"low": 0.5, "high": 0.5, "count": 1}):
        assert limits(found) is None
        assert estimate({"mean": 0.5} | found) == Estimate("0.50", None)
    assert estimate(None) == MISSING
    cell = rendered("parts.html.j2", "cell", Estimate("0.50"))
    assert cell == "<b>0.50</b>"
    assert percent(0.125) == "12.5"
    assert percent(None) == MISSING


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23456, "1.235"), (-0.5, "−0.500"), (3, "3"), (None, "–"), (math.nan, "–"), (True, "–"), ("3", "–")],
)
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text


def test_moments() -> None:
    assert moment("2026-05-02T14:03:59+00:00") == "2 May 2026, 14:03 UTC"
    assert moment("soon") == "soon"
    assert moment(None) == "–"


def test_the_winning_path_is_followed_back_to_the_prefix() -> None:
    assert winning_path(STEPS, "An image of a cat.") == {0: 1, 1: 0, 2: 0, 3: 0}
    assert winning_path(STEPS, "An image of a cat on a") == {0: 1, 1: 0, 2: 1, 3: 1}
    assert winning_path(STEPS, "unknown") == winning_path(STEPS, "An image of a cat.")
    assert winning_path([], "text") == {}
    broken = [STEPS[0], {"beam": [hypothesis("x", 7, 1.0)]}]
    assert winning_path(broken, "x") == {1: 0}
    unknown = {"beam": [hypothesis("x", 0, 1.0) | {"objective": None}, hypothesis("y", 0, 2.0)]}
    assert winning_path([unknown], "gone") == {0: 1}


def test_what_a_step_added() -> None:
    prefix = "An image of"
    assert [added(STEPS, step, place, prefix) for step, place in [(0, 1), (1, 0), (2, 0), (3, 0)]] == [
        "a",
        "cat",
        ".",
        "(end)",
    ]
    swapped = [{"beam": [hypothesis("Another text", 0, 1.0)]}]
    assert added(swapped, 0, 0, prefix) == "Another text"


@given(st.text(), st.integers(2, 20))
def test_shortened_fits(text: str, room: int) -> None:
    short = shortened(text, room)
    assert len(short) <= max(room, 2)
    assert short == text or short.endswith("…")


def test_wide_letters_count_twice() -> None:
    assert shortened("猫" * 8) == "猫" * 8
    assert shortened("猫" * 9) == "猫" * 7 + "…"


@pytest.mark.parametrize("text", ["An image of a cat.", "An image of a cat on a"])
def test_the_tree_holds_every_hypothesis_and_highlights_one_a_step(text: str) -> None:
    section = beam_section(STEPS, "An image of", text, ["fluency"])
    assert section is not None
    assert section.count('class="node"') + section.count('class="node won"') == 1 + 8
    assert section.count('class="node won"') == 1 + 4
    assert section.count('class="edge won"') == 4
    assert section.count("<strong>") == 4
    assert beam_section([], "An image of", text, []) is None


def test_a_damaged_parent_does_not_stop_the_report() -> None:
    broken = [STEPS[0], {"beam": [hypothesis("x", 7, 1.0)]}]
    assert beam_section(broken, "An image of", "x", []) is not None


def test_the_chart_is_svg_in_the_pages_colours() -> None:
    terms = list(STEPS[0]["beam"][0]["terms"])
    chart = loss_chart('1, <"cat">', STEPS, terms)
    assert chart is not None
    tree = ElementTree.fromstring(chart)
    assert 'Loss curve of 1, <"cat"> over 4 steps: objective from 9.000 to 6.000' in tree.attrib["aria-label"]
    assert "var(--term-1)" in chart
    assert "var(--term-2)" in chart
    assert not re.search(r"#01|#02|#03|<style|<metadata", chart)
    assert chart == loss_chart('1, <"cat">', STEPS, terms), "it is kept"
    _draw.cache_clear()
    assert chart == loss_chart('1, <"cat">', STEPS, terms), "the same steps give the same drawing"
    ids = [
        set(re.findall(r'id="(clip[^"]+|[mp][0-9a-f]{6,})"', str(loss_chart(n, STEPS, terms)))) for n in "ab"
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_charts_without_steps_and_with_gaps() -> None:
    assert loss_chart("a", [], ["fluency"]) is None
    gap = {"beam": [hypothesis("x", 0, 1.0) | {"objective": None}, hypothesis("y", 0, 2.0)]}
    gap["beam"][1]["terms"] = {"fluency": None}
    assert [row["text"] for row in best_of_beam([*STEPS[:1], gap])] == ["An image of the", "y"]
    assert loss_chart("a", [*STEPS[:1], gap], ["fluency", "absent"]) is not None
