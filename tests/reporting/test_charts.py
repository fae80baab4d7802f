import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.reporting.charts import Axis, Line, axis_of, bar_chart, line_chart

finite = st.floats(-1e6, 1e6, allow_nan=False)


def places(svg: str) -> list[tuple[float, float]]:
    """The points of the last path of a chart."""
    path = ElementTree.fromstring(svg).findall("path")[-1].get("d")
    return [tuple(map(float, point.split())) for point in re.split("[ML]", path)[1:]]


@given(values=st.lists(finite, min_size=1), log=st.booleans())
def test_an_axis_holds_its_values_and_has_ticks_within(values, log):
    axis = axis_of("x", values, log=log)
    assert axis.low < axis.high
    assert all(0 <= axis.position(value) <= 1 for value in values)
    assert all(axis.low - 1e-9 <= tick <= axis.high * (1 + 1e-9) + 1e-9 for tick in axis.ticks())
    assert len(axis.ticks()) >= 3 or log
    assert len(axis.ticks()) <= 22


def test_ticks_are_round():
    assert Axis("x", 0, 10).ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis("x", 0.93, 1.0).ticks() == pytest.approx([0.94, 0.96, 0.98, 1.0])
    assert Axis("x", 0.002, 2, log=True).ticks() == pytest.approx([0.01, 0.1, 1])
    assert Axis("x", 0.02, 0.31, log=True).ticks() == pytest.approx([0.03, 0.1, 0.3])
    assert Axis("x", 0.011, 0.014, log=True).ticks() == pytest.approx([0.011, 0.012, 0.013, 0.014])
    assert "-0" not in [Axis("x", -1, 1).shown(tick) for tick in Axis("x", -1, 1).ticks()]


def test_a_line_goes_from_left_to_right_and_up():
    svg = line_chart("t", Axis("x", 0, 2), Axis("y", 0, 1), [Line("a", [0, 1, 2], [0, 0.5, 1], 0)])
    (x0, y0), (x1, y1), (x2, y2) = places(svg)
    assert x0 < x1 < x2
    assert y0 > y1 > y2  # SVG counts downwards
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2), abs=0.1)


def test_a_logarithmic_axis_gives_each_power_of_ten_the_same_room():
    svg = line_chart(
        "t", Axis("x", 0.01, 1, log=True), Axis("y", 0, 1), [Line("a", [0.01, 0.1, 1], [0] * 3, 0)]
    )
    (x0, _), (x1, _), (x2, _) = places(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)


def test_names_are_text_and_not_markup():
    name = "<script>alert(1)</script> & co"
    svg = line_chart(name, Axis(name, 0, 1), Axis("y", 0, 1), [Line(name, [0.5], [0.5], 1)])
    drawn = ElementTree.fromstring(svg)
    assert drawn.get("aria-label") == name
    assert drawn.find("circle").findtext("title") == name
    assert not list(drawn.iter("script"))


def test_bars_stand_on_the_axis():
    svg = bar_chart("t", Axis("x", 0, 1), Axis("y", 0, 1), [(0.0, 0.5, 0.25, "low"), (0.5, 1.0, 1.0, "high")])
    low, high = ElementTree.fromstring(svg).findall("rect")
    assert float(high.get("height")) == pytest.approx(4 * float(low.get("height")), rel=0.01)
    assert float(low.get("y")) + float(low.get("height")) == pytest.approx(
        float(high.get("y")) + float(high.get("height"))
    )
