"""Image files as input of the model of a run."""

import io

import numpy as np
from PIL import Image

from mnist_jax.data.decoding import fit_to
from mnist_jax.data.image_files import ENOUGH, decode, own_rendering
from mnist_jax.serving.classifier import Classifier
from mnist_jax.serving.ink import STYLES, fit_ink


def read_image(file: str | io.BytesIO, classifier: Classifier) -> tuple[np.ndarray, str | None]:
    """Reads an image file as model input, with the same pixels as in training.

    For sets of digits, ink and ground are found in each image, so each image has its own range and ground.

    file: path or content. Returns: see `fit_image`. Raises UserError: the file cannot be read.
    """
    rendering, shape = classifier.rendering, classifier.image_shape
    if _by_ink(shape, classifier.data_name):
        rendering = own_rendering(file)._replace(ground=None)
    image = decode(file, rendering, enough=max(ENOUGH, *shape[:2]))
    return fit_image(image, shape, classifier.data_name, classifier.fit)


def fit_image(
    image: Image.Image, shape: tuple[int, int, int], data_name: str, fit: str = "pad"
) -> tuple[np.ndarray, str | None]:
    """Fits an image to a model: uint8 (H, W, C) of the given shape, and its ink, "dark" or "light".

    Digits become like those of the named set, see `ink`. Other images are scaled by `decoding.fit_to`; their
    ink is None.
    Raises UserError: the image shows no digit.
    """
    height, width, channels = shape
    if _by_ink(shape, data_name):
        pixels, ink = fit_ink(np.asarray(image.convert("L")), height, STYLES[data_name])
        return pixels[..., None], ink
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(fit_to(image, (width, height), fit)).reshape(shape), None


def _by_ink(shape: tuple[int, int, int], data_name: str) -> bool:
    return data_name in STYLES and shape[2] == 1
