"""Small line and bar charts as SVG in the colours, light or dark, of the page around it.

The points of a line are in its `data-points`: charts.js.jinja shows their values on hover and by keyboard.
"""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from mnist_jax.system.output import printable

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 44
_TICKS, _LEAST_TICKS, _MOST_TICKS = 5, 3, 9
_LEAST = 1e-9  # value on a logarithmic axis; smaller ones are shown as this


class Line(NamedTuple):
    """A line of a chart; colour: a number from 0 to 9 of the page's palette."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int


class Mark(NamedTuple):
    """A point that a chart marks with a ring and a text."""

    text: str
    x: float
    y: float
    colour: int


class Axis(NamedTuple):
    """An axis from `low` to `high`; percent: shares are written as percentages."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False

    def position(self, value: float) -> float:
        """Position of a value along the axis, from 0 to 1; values off the axis are at its end."""
        low, high, value = (_log(v) if self.log else v for v in (self.low, self.high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values, three or more: powers of ten, with their multiples where these are too few, or
        multiples of 1, 2 or 5 times a power of ten.
        """
        if self.log:
            first, last = math.floor(_log(self.low)), math.ceil(_log(self.high))
            for steps in ((1,), (1, 3), (1, 2, 5)):
                values = [m * 10.0**power for power in range(first, last + 1) for m in steps]
                inside = [v for v in values if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]
                if len(inside) >= _LEAST_TICKS:
                    return inside[:: -(-len(inside) // _MOST_TICKS)]
        values = self._multiples(_TICKS)
        return values if len(values) >= _LEAST_TICKS else self._multiples(2 * _TICKS)

    def _multiples(self, parts: int) -> list[float]:
        """Multiples of a round number that part the axis into at most so many parts."""
        rough = (self.high - self.low) / parts
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step + 0.0 for i in range(first, last + 1)]

    def shown(self, value: float) -> str:
        """A value as text; never -0."""
        return f"{100 * value + 0.0:.5g}%" if self.percent else f"{value + 0.0:.5g}"


def axis_of(label: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """An axis that holds all values."""
    low, high = min(values), max(values)
    if log:
        low = min((value for value in values if value > _LEAST), default=1e-3)
        return Axis(label, low / 1.2, max(high, low) * 1.2, log=True)
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    return Axis(label, low - margin, high + margin)


def line_chart(
    title: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    *,
    marks: Sequence[Mark] = (),
    inset: tuple[Axis, Axis, bool] | None = None,
) -> str:
    """Lines over two axes.

    Args:
      title: description for readers who cannot see the chart.
      x, y: the axes.
      lines: the lines.
      marks: points to mark.
      inset: two other axes, over which the same lines are drawn small in a lower corner, and whether that is
        the left one.
    """
    drawn = [_frame(x, y)]
    for line in lines:
        drawn.append(_line(x, y, line))
    for mark in marks:
        at = f'cx="{_x(x, mark.x):.1f}" cy="{_y(y, mark.y):.1f}"'
        drawn.append(
            f'<circle class="ring c{mark.colour}" {at} r="5"><title>{_text(mark.text)}</title></circle>'
        )
    if inset:
        drawn.append(_inset(*inset, lines))
    return _svg(title, drawn, points=True)


def _line(x: Axis, y: Axis, line: Line) -> str:
    path, name = _path(x, y, line.x, line.y), _text(line.name)
    values = " ".join(
        f"{_x(x, a):.1f},{_y(y, b):.1f},{x.shown(a)},{y.shown(b)}"
        for a, b in zip(line.x, line.y, strict=True)
    )
    text = (
        f'<path class="line c{line.colour}" d="{path}" data-name="{name}" data-points="{values}">'
        f"<title>{name}</title></path>"
    )
    if len(line.x) == 1:
        at = f'cx="{_x(x, line.x[0]):.1f}" cy="{_y(y, line.y[0]):.1f}"'
        text += f'<circle class="dot c{line.colour}" {at} r="3"><title>{name}</title></circle>'
    return text


def _inset(x: Axis, y: Axis, on_left: bool, lines: Sequence[Line]) -> str:
    """The lines over other axes, at a quarter of the size."""
    scale = 0.27
    left = _LEFT * (1 - scale) + 10 if on_left else (_WIDTH - _RIGHT) * (1 - scale) - 10
    top = (_HEIGHT - _BOTTOM) * (1 - scale) - 10
    frame = f"M{_LEFT} {_TOP}H{_WIDTH - _RIGHT}V{_HEIGHT - _BOTTOM}H{_LEFT}Z"
    paths = (f'<path class="line c{line.colour}" d="{_path(x, y, line.x, line.y)}"/>' for line in lines)
    return (
        f'<g class="inset" transform="translate({left:.1f} {top:.1f}) scale({scale})">'
        f'<path class="backdrop" d="{frame}"/>' + "".join(paths) + "</g>"
    )


def bar_chart(title: str, x: Axis, y: Axis, bars: Sequence[tuple[float, float, float, str]]) -> str:
    """Bars (from x, to x, height, text of its tooltip), and the line where y is x."""
    drawn = [_frame(x, y)]
    for start, stop, height, text in bars:
        left, right, top = _x(x, start), _x(x, stop), _y(y, height)
        drawn.append(
            f'<rect class="bar" x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{_y(y, y.low) - top:.1f}"><title>{_text(text)}</title></rect>'
        )
    drawn.append(f'<path class="diagonal" d="{_path(x, y, (x.low, x.high), (x.low, x.high))}"/>')
    return _svg(title, drawn)


def _svg(title: str, drawn: Sequence[str], *, points: bool = False) -> str:
    """points: whether readers can step through values, which then takes the keyboard."""
    label = _text(title)
    keys = ' class="values" tabindex="0"' if points else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}"{keys}>'
        + "".join(drawn)
        + "</svg>"
    )


def _text(text: str) -> str:
    return html.escape(printable(text))


def _frame(x: Axis, y: Axis) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in x.ticks():
        at = _x(x, value)
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{x.shown(value)}</text>')
    for value in y.ticks():
        at = _y(y, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y.shown(value)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{_text(x.label)}</text>')
    turned = f'transform="translate(13 {(_TOP + bottom) / 2}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">{_text(y.label)}</text>')
    return "".join(parts)


def _path(x: Axis, y: Axis, xs: Sequence[float], ys: Sequence[float]) -> str:
    points = (f"{_x(x, a):.1f} {_y(y, b):.1f}" for a, b in zip(xs, ys, strict=True))
    return "M" + "L".join(points)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.position(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.position(value) * (_HEIGHT - _TOP - _BOTTOM)


def _log(value: float) -> float:
    return math.log10(max(value, _LEAST))
