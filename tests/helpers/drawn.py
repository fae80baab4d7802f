"""A digit to recognize, drawn by the tests."""

import numpy as np
from PIL import Image


def seven(side=28, *, thickness=3) -> np.ndarray:
    """Light on black, in a box of 20/28 of any side."""
    grey = np.zeros((28, 28), np.float32)
    grey[4 : 4 + thickness, 8:20] = 1
    for row in range(4, 24):
        column = 19 - (row - 4) * 8 // 20
        grey[row, column - thickness + 1 : column + 1] = 1
    image = Image.fromarray(np.uint8(grey * 255))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
