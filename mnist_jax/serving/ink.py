"""Fits drawn and photographed digits to the format of the training set.

MNIST (http://yann.lecun.com/exdb/mnist/) has light ink on black. The digit is scaled to a box of 20 x 20
pixels, with its aspect ratio kept and grey levels from the scaling, and its centre of mass is in the middle
of 28 x 28. Measured on its test images: the longer side is 20 pixels in 9,997 of 10,000 and 19 in the others,
and all centres of mass are within the pixel right and below of the middle. The bundled digits: see `bitmap`.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from mnist_jax.serving.bitmap import fit_blocks
from mnist_jax.system.errors import UserError

_WORKING_SIDE = 256  # pixels; finer detail of a photograph is noise
_LEAST_CONTRAST = 0.1  # of black to white
_EVEN = 0.03  # deviation of a ground without shadows, of black to white
_NOTHING = "it shows nothing that stands out from its background"
_SPECK = 0.05  # of the largest part's mass: less is dust
_THINNEST = 0.1  # stroke width per longer side; of MNIST 98% are thicker than 0.08, the median is 0.134


class Style(NamedTuple):
    """How the images of a set show their digits.

    Attributes:
        box: longer side of the digit per side of the image.
        by_mass: the centre of mass is in the middle, else that of the box around the digit.
        by_blocks: pixels count the set pixels in blocks of a normalized bitmap, see `bitmap`.
    """

    box: float
    by_mass: bool
    by_blocks: bool = False


# By the name of the set.
STYLES = {"mnist": Style(20 / 28, by_mass=True), "digits": Style(1.0, by_mass=False, by_blocks=True)}


def otsu(grey: np.ndarray) -> float:
    """The threshold that minimizes the variance within two groups: https://doi.org/10.1109/TSMC.1979.4310076."""
    counts, edges = np.histogram(grey, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * middles) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * middles)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    best = np.flatnonzero(between == between.max())  # a gap between the groups has many: take its middle
    return float(edges[1 + (best[0] + best[-1]) // 2])


def fit_ink(grey: np.ndarray, side: int, style: Style) -> tuple[np.ndarray, str]:
    """Fits the digit of a grey image (H, W), uint8, to a set; also returns its ink, "dark" or "light".

    Returns: light ink on black, uint8 (side, side). An image in this format already, or inverted, keeps its
    pixels.
    Raises UserError: the image has no ink.
    """
    grey = _without_frame(grey.astype(np.float32) / 255)
    smooth = ndimage.gaussian_filter(_shrunk(grey), min(max(grey.shape), _WORKING_SIDE) / 128)
    if np.ptp(smooth) < _LEAST_CONTRAST:
        raise UserError("it shows nothing: its brightness is the same everywhere")
    dark = _is_dark(grey)
    if _is_fitted(ink := 1 - grey if dark else grey, side, style):
        return np.round(ink * 255).astype(np.uint8), _name(dark)
    ink = _without_specks(_without_background(_shrunk(ink)))
    if style.by_blocks:
        ink = ink / ink.max()
        return fit_blocks(_cropped(ink, 0.5), side), _name(dark)
    ink = _thickened(_cropped(ink))
    return _centred(_scaled(ink, round(side * style.box)), side, style), _name(dark)


def _name(dark: bool) -> str:
    return "dark" if dark else "light"


def _is_fitted(ink: np.ndarray, side: int, style: Style) -> bool:
    if ink.shape != (side, side):
        return False
    rows, columns = _box(ink > 0)
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    shift = _shift(ink, side, style)
    return abs(longer - round(side * style.box)) <= 1 and max(map(abs, shift)) <= 1


def _shrunk(ink: np.ndarray) -> np.ndarray:
    """Shrinks the image to the working size."""
    factor = _WORKING_SIDE / max(ink.shape)
    return _resized(ink, factor) if factor < 1 else ink


def _is_dark(grey: np.ndarray) -> bool:
    """Whether the ink is darker than the background, which is most of the border."""
    level = grey - _plane(grey)
    threshold = otsu(level)
    light = np.mean(_border(level) > threshold)
    if 0.4 < light < 0.6:  # the digit touches the border: decide by all pixels
        light = np.mean(level > threshold)
    return bool(light > 0.5)


def _plane(grey: np.ndarray) -> np.ndarray:
    """Light from one side: the least-squares plane through the border."""
    rows, columns = np.indices(grey.shape) / max(grey.shape)
    around = np.stack([_border(rows), _border(columns), np.ones(2 * sum(grey.shape))], axis=1)
    (down, right, level), *_ = np.linalg.lstsq(around, _border(grey), rcond=None)
    return down * rows + right * columns + level


def _border(grey: np.ndarray) -> np.ndarray:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _without_frame(grey: np.ndarray) -> np.ndarray:
    """Removes a frame: lines of one brightness all around that differ from the background."""
    for _ in range(min(grey.shape) // 8):
        border, inside = _border(grey), grey[1:-1, 1:-1]
        if border.std() > _EVEN or abs(border.mean() - np.median(inside)) < 2 * _LEAST_CONTRAST:
            break
        grey = inside
    return grey


def _without_background(ink: np.ndarray) -> np.ndarray:
    """Ink in [0, 1] on 0, without noise, shadows and the brightness of the paper."""
    paper = _paper(ink)
    ink = np.clip((ink - paper) / np.maximum(1 - paper, 0.05), 0, 1)  # ink's share of the light
    threshold = otsu(ink)
    ground, strokes = ink[ink <= threshold], ink[ink > threshold]
    if strokes.size == 0:
        raise UserError(_NOTHING)
    noise = np.median(ground) + 4 * np.median(np.abs(ground - np.median(ground)))
    full = np.percentile(strokes, 90)
    return np.clip((ink - noise) / max(full - noise, 1e-6), 0, 1)


def _paper(ink: np.ndarray) -> np.ndarray:
    """The background without ink.

    On uneven paper, such as in photographs, a morphological opening removes strokes, which are narrower than
    its window.
    """
    ground = ink[ink <= otsu(ink)]
    if ground.std() < _EVEN:
        return np.median(ground)
    reach = max(ink.shape) // 3
    return ndimage.gaussian_filter(ndimage.grey_opening(ink, size=(reach, reach)), reach / 6)


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Removes parts that are too small to belong to the digit."""
    parts, count = ndimage.label(ink > 0.2, structure=np.ones((3, 3)))
    if count == 0:
        raise UserError(_NOTHING)
    masses = ndimage.sum_labels(ink, parts, range(1, count + 1))
    kept = 1 + np.flatnonzero(masses >= _SPECK * masses.max())
    return np.where(ndimage.binary_dilation(np.isin(parts, kept), iterations=2), ink, 0)


def _cropped(ink: np.ndarray, level: float = 0.1) -> np.ndarray:
    return ink[_box(ink > level)]


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the bounding box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _thickened(ink: np.ndarray) -> np.ndarray:
    """Thickens strokes to at least those of the set: a fine pen would vanish when scaled down."""
    longer = max(ink.shape)
    inside = ink > 0.5
    if not inside.any():
        return ink
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    width = 4 * depth[inside].mean()  # a stroke is four times as wide as its pixels are deep in it
    missing = round(_THINNEST * longer - width)
    if missing < 1:
        return ink
    wider = np.pad(ink, missing)
    return _cropped(ndimage.grey_dilation(wider, footprint=_disc(missing)))


def _disc(diameter: int) -> np.ndarray:
    offsets = np.arange(diameter + 1) - diameter / 2
    return offsets[:, None] ** 2 + offsets**2 <= (diameter / 2) ** 2 + 0.5


def _scaled(ink: np.ndarray, longer: int) -> np.ndarray:
    return _resized(ink, longer / max(ink.shape))


def _resized(ink: np.ndarray, factor: float) -> np.ndarray:
    height, width = (max(1, round(length * factor)) for length in ink.shape)
    image = Image.fromarray(ink.astype(np.float32))
    return np.clip(np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)


def _centred(ink: np.ndarray, side: int, style: Style) -> np.ndarray:
    canvas = np.zeros((2 * side, 2 * side), np.float32)  # large enough for every shift
    height, width = ink.shape
    top, left = side - height // 2, side - width // 2
    canvas[top : top + height, left : left + width] = ink
    down, right = _shift(canvas, 2 * side, style)
    corner = side // 2
    moved = np.roll(canvas, (down, right), (0, 1))[corner : corner + side, corner : corner + side]
    return np.round(moved * 255).astype(np.uint8)


def _shift(ink: np.ndarray, side: int, style: Style) -> tuple[int, int]:
    """Pixels down and to the right that centre the digit as in the set."""
    if style.by_mass:
        centre = ndimage.center_of_mass(ink)
        down, right = (side // 2 - int(np.floor(position + 0.5)) for position in centre)
    else:
        rows, columns = _box(ink > 0)
        down, right = ((side - part.start - part.stop) // 2 for part in (rows, columns))
    return down, right
