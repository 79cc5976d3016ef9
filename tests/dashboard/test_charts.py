from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template.loader import render_to_string

from jobapi.dashboard.charts import DURATIONS, Chart, Line, Value, bar, line_chart, spark
from jobapi.dashboard.words import age, short

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def chart_of(*values: Value, name: str = "succeeded", title: str = "A chart") -> Chart:
    moments = [START + timedelta(minutes=place) for place in range(len(values))]
    line = Line(name=name, look="succeeded", values=values)
    return line_chart(title, moments, [line], show=short, summary="What it shows.")


def drawn(chart: Chart) -> str:
    return render_to_string("dashboard/chart.html", {"chart": chart})


def test_a_line_goes_from_the_left_to_the_right_and_reaches_its_height() -> None:
    chart = chart_of(0, 2, 4)

    assert chart.strokes[0].path == "M0 100L500 50L1000 0"
    assert chart.heights == ("4", "2", "0")


def test_an_empty_chart_says_that_there_is_nothing() -> None:
    text = drawn(chart_of())

    assert "Nothing in this time" in text
    assert "nan" not in text.lower()


def test_zeros_are_drawn_as_a_line_at_the_bottom_and_called_nothing() -> None:
    chart = chart_of(0, 0)

    assert chart.strokes[0].path == "M0 100L1000 100"
    assert "Nothing in this time" in drawn(chart)


def test_one_point_is_a_dot() -> None:
    assert chart_of(2).strokes[0].path == "M0 0h0"


def test_a_line_breaks_where_a_value_lacks() -> None:
    assert chart_of(2, None, 2, 0).strokes[0].path == "M0 0M666.7 0L1000 100".replace("M0 0M", "M0 0h0M")


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 2), (1.5, 2), (3, 4), (7, 8), (9, 10), (11, 20), (99, 100), (101, 200), (450, 600), (9e14, 1e15)],
)
def test_a_chart_reaches_up_to_a_round_number(value: float, top: float) -> None:
    assert chart_of(value).heights[0] == short(top)


def test_huge_data_stay_readable_and_inside() -> None:
    chart = chart_of(*(n * 10**9 for n in range(1440)))

    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", chart.strokes[0].path)]
    assert chart.heights == ("2000G", "1000G", "0")
    assert (min(numbers), max(numbers)) == (0, 1000)
    assert len(chart.moments) == 4
    assert len(drawn(chart)) < 1_000_000


def test_durations_reach_up_to_a_duration_people_use() -> None:
    for seconds in (0.2, 3, 17, 61, 3599, 80_000):
        chart = line_chart("", [START], [Line(name="", look="", values=[seconds])], show=age, summary="")
        assert chart.heights[0] in [age(step) for step in DURATIONS]
        assert not chart.is_empty


def test_a_chart_has_a_summary_for_those_who_do_not_see_it_and_its_figures_as_a_table() -> None:
    text = drawn(chart_of(1, 1204))

    assert 'role="img" aria-label="What it shows."' in text
    assert '<th scope="row">09:01</th><td class="number">1,204</td>' in text
    assert "<title>09:01 UTC: succeeded 1,204</title>" in text


def test_a_chart_has_neither_script_nor_style_and_escapes_its_words() -> None:
    text = drawn(chart_of(1, 2, name="<img src=x onerror=alert(1)>", title="<script>"))

    assert "<script" not in text
    assert "<img" not in text
    assert "style=" not in text


def test_a_spark_of_nothing_is_flat() -> None:
    assert spark([0, 0, 0]) == "M0 100L500 100L1000 100"
    assert spark([]) == ""


@pytest.mark.parametrize(("value", "most", "width"), [(0, 10, "0"), (10, 10, "100"), (1, 10**9, "1"), (5, 0, "0")])
def test_a_bar_shows_what_is_there_at_all(value: float, most: float, width: str) -> None:
    assert bar(value, most) == width


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0s"), (0.04, "40ms"), (1, "1s"), (9.94, "9.9s"), (59, "59s"), (60, "1m"), (732, "12m 12s"),
     (3600, "1h"), (90_000, "1d 1h"), (86_400 * 400, "400d")],
)  # fmt: skip
def test_a_duration_is_told_in_its_two_largest_units(seconds: float | None, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (0.4, "0.4"), (3.25, "3.2"), (1204, "1,204"), (48_210, "48.2k"), (10_000, "10k"), (2_500_000, "2.5M")],
)
def test_a_number_is_told_in_few_digits(number: float, words: str) -> None:
    assert short(number) == words
