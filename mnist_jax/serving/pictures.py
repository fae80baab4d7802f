"""An image as the model of a run takes it."""

import numpy as np
from PIL import Image, ImageOps

from mnist_jax.serving.ink import STYLES, fit_ink


def fit_image(
    image: Image.Image, shape: tuple[int, int, int], data_name: str
) -> tuple[np.ndarray, str | None]:
    """An image as a model takes it, uint8 (H, W, C) of the shape given, and its ink: "dark" or "light".

    Digits are made to look like those of the set of that name, see `ink`. Others are scaled and cropped about
    their centre; their ink is None.
    Raises UserError: there is no digit on it.
    """
    height, width, channels = shape
    if data_name in STYLES and channels == 1:
        pixels, ink = fit_ink(np.asarray(image.convert("L")), height, STYLES[data_name])
        return pixels[..., None], ink
    image = image.convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(fitted).reshape(shape), None
