"""A drawn digit as the bundled digits have theirs: counts of pixels in the blocks of a normalized bitmap.

The set was made by NIST's preprocessing (NISTIR 5469, https://doi.org/10.6028/NIST.IR.5469, and the
set's description, https://doi.org/10.24432/C50P49): the digit fills 20 x 32 pixels in the middle of a bitmap
of 32 x 32, its strokes are made thinner or thicker, it is sheared until its left edge is vertical, and each
pixel of the image is the share of a block of 4 x 4 that is set. Measured on its 1,797 images: all reach from
the first row to the last, 96% leave the outer columns empty, and 31% of the bitmap is set (deviation 3%).

Differences from NIST, chosen on drawn digits (tests/helpers/strokes.py): a narrow digit keeps 0.9 of its
width, where NIST stretches even a bare 1 to 20 pixels, and strokes reach the set's share in fine steps.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

_BLOCK = 16  # fine pixels along a block of NIST's 4 x 4
_WIDEST = 20 / 32  # of the bitmap
_NARROWER = 0.9  # width of a digit that is not widest, of its own
_SET = 0.34  # share of the bitmap that strokes are made to cover
_MOST = 2 / 32  # by which a stroke grows or shrinks on each side, of the bitmap
_EDGE = 2 / 32  # distance from top and bottom of the rows whose left ends are aligned, of the bitmap


def fit_blocks(ink: np.ndarray, side: int) -> np.ndarray:
    """The digit of an image of ink alone, cropped to it, as the bundled digits have it.

    Args:
      ink: float (H, W), in [0, 1].
      side: of the result, in pixels.

    Returns: uint8 (side, side), light ink on black.
    """
    bitmap = _upright(_even_strokes(_stretched(ink, side * _BLOCK)))
    return np.round(255 * bitmap.reshape(side, _BLOCK, side, _BLOCK).mean((1, 3))).astype(np.uint8)


def _stretched(ink: np.ndarray, length: int) -> np.ndarray:
    """A bitmap (length, length) that the digit fills from top to bottom, in its middle."""
    height, width = ink.shape
    wide = max(1, round(length * min(_WIDEST, _NARROWER * width / height)))
    image = Image.fromarray(ink.astype(np.float32)).resize((wide, length), Image.Resampling.BICUBIC)
    left = (length - wide) // 2
    return np.pad(np.asarray(image) > 0.5, ((0, 0), (left, length - wide - left)))


def _even_strokes(bitmap: np.ndarray) -> np.ndarray:
    """With strokes thinner or thicker by the same distance everywhere, so that their share is the set's."""
    outside, inside = (ndimage.distance_transform_edt(mask) for mask in (~bitmap, bitmap))
    distance = np.where(bitmap, 0.5 - inside, outside - 0.5)  # from the edge, negative in strokes
    most = _MOST * len(bitmap)
    return distance <= np.clip(np.quantile(distance, _SET), -most, most)


def _upright(bitmap: np.ndarray) -> np.ndarray:
    """Sheared until the left ends of a row near its top and one near its bottom are above each other."""
    length = len(bitmap)
    rows = np.flatnonzero(bitmap.any(axis=1))
    edge = round(_EDGE * length)
    top, bottom = rows[0] + edge, rows[-1] - edge
    if top >= bottom or not (bitmap[top].any() and bitmap[bottom].any()):
        return bitmap
    slant = (np.argmax(bitmap[top]) - np.argmax(bitmap[bottom])) / (bottom - top)
    shear = [[1, 0], [-slant, 1]]  # from rows and columns of the result to those of the bitmap
    return ndimage.affine_transform(bitmap, shear, (0, slant * length / 2), order=0)
