"""Digits drawn by many hands: vector strokes, varied at random, as the demo page's canvas shows them.

Each kind of a digit is a list of strokes, each stroke a list of arcs, each arc a list of points in a box of
width and height 1, y downwards. An arc of two points is a straight line, one of more a smooth curve.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

BOARD = 448  # pixels a side of the page's canvas
PEN = 1 / 13  # width of its pen per side

KINDS = {
    "0": [
        [
            [
                (0.55, 0),
                (0.15, 0.15),
                (0, 0.5),
                (0.15, 0.87),
                (0.5, 1),
                (0.87, 0.85),
                (1, 0.5),
                (0.85, 0.13),
                (0.5, 0),
            ]
        ]
    ],
    "1 bare": [[[(0.5, 0), (0.5, 1)]]],
    "1 with a hook": [[[(0.1, 0.3), (0.6, 0)], [(0.6, 0), (0.6, 1)]]],
    "1 with a hook and a foot": [[[(0.15, 0.25), (0.55, 0)], [(0.55, 0), (0.55, 1)]], [[(0.1, 1), (1, 1)]]],
    "2": [
        [
            [(0, 0.25), (0.2, 0.04), (0.6, 0), (0.92, 0.22), (0.75, 0.5), (0.35, 0.78), (0, 1)],
            [(0, 1), (1, 1)],
        ]
    ],
    "2 with a loop": [
        [
            [
                (0, 0.2),
                (0.3, 0),
                (0.8, 0.08),
                (0.85, 0.35),
                (0.5, 0.75),
                (0.12, 0.97),
                (0.05, 0.83),
                (0.3, 0.8),
                (0.65, 0.95),
                (1, 0.95),
            ]
        ]
    ],
    "3": [
        [
            [(0.05, 0.12), (0.4, 0), (0.85, 0.1), (0.82, 0.35), (0.4, 0.47)],
            [(0.4, 0.47), (0.85, 0.56), (0.97, 0.78), (0.55, 1), (0, 0.9)],
        ]
    ],
    "3 with a flat top": [
        [
            [(0.02, 0), (0.9, 0)],
            [(0.9, 0), (0.4, 0.4)],
            [(0.4, 0.4), (0.9, 0.56), (0.9, 0.88), (0.4, 1), (0, 0.9)],
        ]
    ],
    "4 open": [[[(0.15, 0), (0, 0.58)], [(0, 0.58), (1, 0.58)]], [[(0.75, 0.12), (0.72, 1)]]],
    "4 closed": [[[(0.7, 1), (0.7, 0)], [(0.7, 0), (0, 0.65)], [(0, 0.65), (1, 0.65)]]],
    "5": [
        [
            [(0.12, 0), (0.07, 0.45)],
            [(0.07, 0.45), (0.45, 0.38), (0.92, 0.53), (0.92, 0.8), (0.5, 1), (0, 0.92)],
        ],
        [[(0.12, 0), (0.95, 0)]],
    ],
    "5 in one stroke": [
        [
            [(0.9, 0), (0.15, 0)],
            [(0.15, 0), (0.1, 0.42)],
            [(0.1, 0.42), (0.5, 0.37), (0.95, 0.6), (0.75, 0.95), (0.35, 1), (0, 0.93)],
        ]
    ],
    "6": [
        [
            [
                (0.75, 0),
                (0.3, 0.22),
                (0.03, 0.6),
                (0.12, 0.9),
                (0.5, 1),
                (0.92, 0.85),
                (0.85, 0.6),
                (0.5, 0.52),
                (0.1, 0.7),
            ]
        ]
    ],
    "7": [[[(0, 0), (1, 0)], [(1, 0), (0.4, 1)]]],
    "7 with a bar": [[[(0, 0.03), (1, 0)], [(1, 0), (0.35, 1)]], [[(0.25, 0.5), (0.95, 0.5)]]],
    "7 with a serif": [[[(0.02, 0.18), (0.02, 0)], [(0.02, 0), (1, 0)], [(1, 0), (0.6, 0.45), (0.45, 1)]]],
    "8": [
        [
            [
                (0.85, 0.12),
                (0.5, 0),
                (0.14, 0.15),
                (0.25, 0.37),
                (0.78, 0.63),
                (0.9, 0.84),
                (0.5, 1),
                (0.1, 0.84),
                (0.22, 0.6),
                (0.75, 0.37),
                (0.85, 0.12),
            ]
        ]
    ],
    "8 of two circles": [
        [[(0.5, 0), (0.15, 0.22), (0.5, 0.45), (0.85, 0.22), (0.5, 0)]],
        [[(0.5, 0.45), (0.05, 0.73), (0.5, 1), (0.95, 0.73), (0.5, 0.45)]],
    ],
    "9": [
        [
            [(0.88, 0.2), (0.5, 0), (0.1, 0.12), (0.06, 0.36), (0.4, 0.5), (0.8, 0.38), (0.9, 0.15)],
            [(0.9, 0.15), (0.8, 1)],
        ]
    ],
    "9 with a round tail": [
        [
            [(0.88, 0.2), (0.5, 0), (0.1, 0.12), (0.06, 0.36), (0.4, 0.5), (0.8, 0.38), (0.9, 0.15)],
            [(0.9, 0.15), (0.92, 0.6), (0.7, 0.95), (0.35, 1), (0.05, 0.93)],
        ]
    ],
}


class Drawn(NamedTuple):
    """kind: of KINDS, begins with the digit. strokes: points (N, 2) of x and y; these and pen per side."""

    kind: str
    strokes: list[np.ndarray]
    pen: float

    def image(self) -> Image.Image:
        """As the page draws it: white on black, round ends, smooth edges."""
        scale = 4  # drawn larger and averaged
        image = Image.new("L", (BOARD * scale, BOARD * scale))
        draw = ImageDraw.Draw(image)
        radius = self.pen * BOARD * scale / 2
        for stroke in self.strokes:
            points = stroke * BOARD * scale
            draw.line([tuple(point) for point in points], 255, round(2 * radius))
            for x, y in points:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
        return image.resize((BOARD, BOARD), Image.Resampling.BOX)

    def png(self) -> bytes:
        content = io.BytesIO()
        self.image().save(content, "PNG")
        return content.getvalue()


def drawings(count: int, *, seed: int = 0, pen: float | None = None):
    """`count` of each kind; pen: the width of all, else each has its own, as pens and pictures have."""
    rng = np.random.default_rng(seed)
    return [draw(kind, rng, pen) for kind in KINDS for _ in range(count)]


def draw(kind: str, rng: np.random.Generator, pen: float | None = None) -> Drawn:
    """A digit of a random shape, slant, size, position and width of the pen."""
    slant, angle = rng.uniform(-0.1, 0.35), np.radians(rng.uniform(-7, 7))
    width, size = rng.uniform(0.45, 0.8), rng.uniform(0.35, 0.85)
    shape = np.array([[width, -slant], [0, 1]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    strokes = [_stroke(arcs, rng) @ (turn @ shape).T for arcs in KINDS[kind]]
    points = np.concatenate(strokes)
    low, extent = points.min(0), np.ptp(points, axis=0)
    size /= extent.max()
    pen = pen or size * extent.max() * rng.uniform(0.06, 0.18)
    free = np.maximum(1 - size * extent - pen, 0)
    corner = pen / 2 + rng.uniform(0, 1, 2) * free
    return Drawn(kind, [size * (stroke - low) + corner for stroke in strokes], pen)


def _stroke(arcs, rng: np.random.Generator) -> np.ndarray:
    """Points along a stroke whose corners and curves a hand did not quite hit."""
    moved = {point: np.array(point) + rng.normal(0, 0.03, 2) for arc in arcs for point in arc}
    return np.concatenate([_curve(np.array([moved[point] for point in arc])) for arc in arcs])


def _curve(points: np.ndarray) -> np.ndarray:
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return CubicSpline(along, points)(np.linspace(0, along[-1], 40))
