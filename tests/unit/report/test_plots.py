"""Plots: what they say to a reader who cannot see them, and where things stand on the axes."""

import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rendered import rendered

from fuse_repro.metrics.statistics import Interval, bootstrap_interval
from fuse_repro.report.plots import metric_plots
from fuse_repro.report.plots.loss_curve import loss_chart
from fuse_repro.report.plots.methods import methods_chart
from fuse_repro.report.plots.metric_plots import spread
from fuse_repro.report.plots.style import dash, legend, marker

SVG = "{http://www.w3.org/2000/svg}"


def line_plot(*values: Any) -> str:
    return rendered("plots.html.j2", "figure", metric_plots.line_plot(*values))


def bar_plot(*values: Any) -> str:
    return rendered("plots.html.j2", "figure", metric_plots.bar_plot(*values))


def scatter_plot(*values: Any, **settings: Any) -> str:
    return rendered("plots.html.j2", "figure", metric_plots.scatter_plot(*values, **settings))


def at(*values: float) -> Interval:
    return bootstrap_interval(values)


def drawing(plot: str) -> ElementTree.Element:
    """The plot's svg; its figure has to be well-formed."""
    figure = ElementTree.fromstring(plot)
    return next(child for child in figure if "aria-label" in child.attrib)


def texts(plot: str) -> list[str]:
    return [node.text or "" for node in drawing(plot).iter(f"{SVG}text")]


def tick_places(plot: str) -> dict[str, float]:
    """Label on the horizontal axis -> its place."""
    places = {}
    for group in drawing(plot).iter(f"{SVG}g"):
        if re.fullmatch(r"xtick_\d+", group.get("id", "")):
            (text,) = list(group.iter(f"{SVG}text"))
            moved = re.search(r"translate\(([\d.]+)", text.get("transform", ""))
            places[text.text or ""] = float(text.get("x") or (moved[1] if moved else "nan"))
    return places


def test_all_stands_last_and_a_wide_axis_is_logarithmic() -> None:
    line = {None: at(4.0), 512: at(1.0), 2048: at(3.0), 1024: at(2.0)}
    plot = line_plot("metric against anchors", "anchors", {"relative": line})
    places = tick_places(plot)
    assert sorted(places, key=places.__getitem__) == ["512", "1024", "2048", "all"]
    gaps = [places[b] - places[a] for a, b in pairwise(["512", "1024", "2048", "all"])]
    assert gaps[1] / gaps[0] == pytest.approx(2, rel=0.01), "a factor of 4 is linear"
    wide = tick_places(line_plot("w", "anchors", {"a": line | {4096: at(1.0)}}))
    gaps = [wide[b] - wide[a] for a, b in pairwise(["512", "1024", "2048", "4096", "all"])]
    assert gaps == pytest.approx([gaps[0]] * 4, rel=0.01)


def test_a_plot_is_told_in_words_and_drawn_in_the_pages_colours() -> None:
    lines = {"<one>": {1: at(0.5, 0.7), 2: at(1.0)}, "two": {1: at(2.0), 2: at(3.0)}}
    plot = line_plot("a < b", "seed's", lines)
    assert drawing(plot).get("role") == "img"
    assert drawing(plot).get("aria-label") == "a < b. <one>: 1 0.600, 2 1.000; two: 1 2.000, 2 3.000"
    assert "var(--term-1)" in plot
    assert "var(--term-2)" in plot
    assert not re.search(r"#01|#02|#03|<style|<metadata|<script", plot)
    assert plot == line_plot("a < b", "seed's", lines), "the same values give the same drawing"
    assert "&lt;one&gt;" in plot


def test_bands_are_drawn_only_where_there_are_several_seeds() -> None:
    one, three = {1: at(1.0), 2: at(2.0)}, {1: at(1.0, 1.2, 1.1), 2: at(2.0, 2.5, 2.2)}
    assert "fill-opacity" not in line_plot("t", "x", {"a": one})
    assert "fill-opacity" in line_plot("t", "x", {"a": three})
    assert "LineCollection" not in bar_plot("t", "x", {"a": one})
    assert "LineCollection" in bar_plot("t", "x", {"a": three})


@pytest.mark.parametrize("plot", [line_plot, bar_plot])
def test_a_value_without_an_interval_is_drawn_alone(plot: Any) -> None:
    """Where nothing can be resampled a summary has no limits, however many values it is the mean of."""
    alone = Interval(1.0, None, None, 3)  # type: ignore[arg-type]
    drawn = plot("t", "x", {"a": {1: alone, 2: at(2.0, 2.5, 2.2)}})
    assert "1 1.000, 2 2.233" in str(drawing(drawn).get("aria-label"))


def test_dollars_in_a_name_are_no_formula() -> None:
    level, moving = {1: at(1.5), 2: at(1.5)}, {1: at(1.0), 2: at(2.0)}
    assert r"$\no{formula$" in texts(line_plot("t", "x", {r"$\no{formula$": level, "b": moving}))


def test_lines_that_the_axis_does_not_change_are_named_at_their_end() -> None:
    moving, level = {1: at(1.0), 2: at(2.0)}, {1: at(1.5), 2: at(1.5)}
    plot = line_plot("t", "x", {"manual": level, "relative": moving, "random": level})
    assert {"manual", "random"} <= set(texts(plot))
    assert "relative" not in texts(plot)
    only = line_plot("t", "x", {"manual": level, "random": level})
    assert "manual" not in texts(only)
    assert "<li>" in only


def test_bars_stand_at_their_names() -> None:
    lines = {"off": {"self": at(50.0), "cross": at(20.0)}, "after": {"self": at(48.0)}}
    plot = bar_plot("P@1 against target", "target", lines)
    assert list(tick_places(plot)) == ["self", "cross"]
    bars = re.findall(r'style="fill: (var\(--term-\d\))"', str(plot))
    assert sorted(bars) == ["var(--term-1)", "var(--term-1)", "var(--term-2)"]
    assert "none" in texts(bar_plot("t", "x", {"": {"none": at(1.0)}}))


def test_scatter_plots_count_their_points() -> None:
    plot = scatter_plot("t", "loss", {"a": [(0.1, 1.0), (0.2, 2.0)], "b": [(0.3, 0.0)]})
    assert drawing(plot).get("aria-label") == "t: 3 points of a, b"
    assert plot.count("<use") >= 3
    path = scatter_plot("t", "loss", {"a": [(0.1, 1.0), (0.2, 2.0)]}, joined=True)
    assert "<li>" not in path


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(0.1, 10))
def test_names_are_spread_without_changing_their_order(heights: list[float], apart: float) -> None:
    heights.sort()
    places = spread(heights, apart)
    assert all(after - before >= apart - 1e-6 for before, after in pairwise(places))
    assert math.fsum(places) == pytest.approx(math.fsum(heights), abs=1e-6)
    if all(after - before >= apart for before, after in pairwise(heights)):
        assert places == pytest.approx(heights)


def test_series_differ_and_a_single_one_needs_no_legend() -> None:
    looks = {(index % 6, marker(index), str(dash(index))) for index in range(42)}
    assert len(looks) == 42
    assert legend(["one"]) is None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_intervals_hold_the_mean_and_stay_inside_the_values(values: list[float]) -> None:
    found = bootstrap_interval(values)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= max(values) + slack
    assert bootstrap_interval(values) == found
    assert bootstrap_interval(values[:1]) == Interval(values[0], None, None, 1)


def test_intervals_agree_with_the_normal_approximation() -> None:
    values = numpy.random.default_rng(1).normal(5, 2, 400)
    found = bootstrap_interval(list(values))
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_names_that_no_drawing_can_hold_are_drawn_as_escapes() -> None:
    """A file name that is not UTF-8 ended the page in matplotlib's own error."""
    name, drawn = "a\udcff\x1b[31m\u202eb", r"a\udcff\x1b[31m\u202eb"
    steps = [{"beam": [{"objective": value, "terms": {name: value}}]} for value in (1.0, 0.5)]
    curve = loss_chart(name, steps, [name])
    assert curve is not None
    row = {"low": 0.5, "high": 0.7, "mean_over_relations": 0.6}
    drawings = [
        curve,
        methods_chart([(name, row)]),
        metric_plots.line_plot(
            name, name, {name: {1: at(1.0), 2: at(1.0)}, "c": {1: at(1.0), 2: at(2.0)}}
        ).drawing,
        metric_plots.bar_plot(name, name, {name: {name: at(1.0), "c": at(2.0)}}).drawing,
        metric_plots.scatter_plot(name, name, {name: [(1.0, 2.0)]}).drawing,
    ]
    for number, plot in enumerate(drawings):
        said = [node.text or "" for node in ElementTree.fromstring(plot.svg.encode()).iter(f"{SVG}text")]
        assert (drawn in said) == (number > 0), "the loss curve has its names in the legend"
