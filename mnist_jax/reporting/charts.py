"""Small line and bar charts as SVG, which takes its colours, light or dark, from the page around it."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from mnist_jax.system.output import printable

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 44
_TICKS = 5
_LEAST = 1e-9  # on a logarithmic axis, below which values are nothing


class Line(NamedTuple):
    """A line of a chart; colour: a number from 0 to 9 of the page's palette."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int


class Axis(NamedTuple):
    """An axis from `low` to `high`."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1; what is off the axis lies at its end."""
        low, high, value = (_log(v) if self.log else v for v in (self.low, self.high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values: powers of ten, or multiples of 1, 2 or 5 times one."""
        if self.log:
            first, last = math.ceil(_log(self.low) - 1e-9), math.floor(_log(self.high) + 1e-9)
            if last - first >= 1:
                return [10.0**power for power in range(first, last + 1)]
        rough = (self.high - self.low) / _TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def axis_of(label: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """An axis that holds all values."""
    low, high = min(values), max(values)
    if log:
        low = min((value for value in values if value > _LEAST), default=1e-3)
        return Axis(label, low / 1.2, max(high, low) * 1.2, log=True)
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    return Axis(label, low - margin, high + margin)


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Lines over two axes. title: for those who cannot see it."""
    drawn = [_frame(x, y)]
    for line in lines:
        path = _path(x, y, line.x, line.y)
        name = _text(line.name)
        drawn.append(f'<path class="line c{line.colour}" d="{path}"><title>{name}</title></path>')
        if len(line.x) == 1:
            at = f'cx="{_x(x, line.x[0]):.1f}" cy="{_y(y, line.y[0]):.1f}"'
            drawn.append(f'<circle class="dot c{line.colour}" {at} r="3"><title>{name}</title></circle>')
    return _svg(title, drawn)


def bar_chart(title: str, x: Axis, y: Axis, bars: Sequence[tuple[float, float, float, str]]) -> str:
    """Bars (from x, to x, height, what to say of it), and the line where y is x."""
    drawn = [_frame(x, y)]
    for start, stop, height, text in bars:
        left, right, top = _x(x, start), _x(x, stop), _y(y, height)
        drawn.append(
            f'<rect class="bar" x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{_y(y, y.low) - top:.1f}"><title>{_text(text)}</title></rect>'
        )
    drawn.append(f'<path class="diagonal" d="{_path(x, y, (x.low, x.high), (x.low, x.high))}"/>')
    return _svg(title, drawn)


def _svg(title: str, drawn: Sequence[str]) -> str:
    label = _text(title)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">' + "".join(drawn) + "</svg>"
    )


def _text(text: str) -> str:
    return html.escape(printable(text))


def _frame(x: Axis, y: Axis) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in x.ticks():
        at = _x(x, value)
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{value:.4g}</text>')
    for value in y.ticks():
        at = _y(y, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.4g}</text>')
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
    return _LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _log(value: float) -> float:
    return math.log10(max(value, _LEAST))
