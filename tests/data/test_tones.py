import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mnist_jax.data import tones


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).uniform(30, 200, (24, 20, 3))
    return (noise * np.linspace(0.5, 1, 20)[:, None]).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "expected", "levels"),
    [
        (lambda x: tones.enhance(x, 1.4, 1.0, 1.0), lambda x: ImageEnhance.Brightness(x).enhance(1.4), 1),
        (lambda x: tones.enhance(x, 1.0, 0.4, 1.0), lambda x: ImageEnhance.Contrast(x).enhance(0.4), 1),
        (lambda x: tones.enhance(x, 1.0, 1.0, 1.7), lambda x: ImageEnhance.Color(x).enhance(1.7), 2),
        (lambda x: tones.sharpen(x, 0.2), lambda x: ImageEnhance.Sharpness(x).enhance(0.2), 2),
        (lambda x: tones.sharpen(x, 1.9), lambda x: ImageEnhance.Sharpness(x).enhance(1.9), 2),
        (lambda x: tones.posterize(x, 3), lambda x: ImageOps.posterize(x, 3), 0),
        (lambda x: tones.solarize(x, 128 / 255), lambda x: ImageOps.solarize(x, 128), 0),
        (tones.autocontrast, ImageOps.autocontrast, 1),
        (tones.equalize, ImageOps.equalize, 0),
    ],
    ids=[
        "brightness",
        "contrast",
        "saturation",
        "blur",
        "sharpen",
        "posterize",
        "solarize",
        "autocontrast",
        "equalize",
    ],
)
def test_each_change_is_pillows(image, change, expected, levels):
    """Within the levels that Pillow loses by rounding between its steps."""
    changed = np.asarray(change(jax.numpy.asarray(image[None] / 255, dtype=np.float32)))[0] * 255
    np.testing.assert_allclose(changed, np.asarray(expected(Image.fromarray(image))), atol=levels + 0.01)


@pytest.mark.parametrize("change", [tones.autocontrast, tones.equalize])
def test_an_image_of_one_value_stays(change):
    image = np.full((1, 8, 8, 1), 77 / 255, np.float32)
    np.testing.assert_allclose(change(image), image, rtol=1e-6)
