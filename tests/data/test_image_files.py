import io

import numpy as np
import pytest
from drawn import seven
from PIL import Image, ImageCms
from written import black_alone, encoded

from mnist_jax.data import image_files
from mnist_jax.system.errors import UserError

# The value of EXIF's tag 274 -> the transposition of an image that it shows upright.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(("orientation", "turn"), TURNS.items())
def test_photographs_are_upright(orientation, turn):
    upright = Image.fromarray(seven(100))
    exif = Image.Exif()
    exif[274] = orientation
    turned = upright if turn is None else upright.transpose(turn)
    decoded = np.asarray(image_files.decode(encoded(turned, exif=exif)), int)
    np.testing.assert_array_equal(decoded, np.asarray(upright))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not an image"),
        (b"text", "not an image"),
        (encoded(Image.fromarray(seven(64))).getvalue()[:200], "damaged"),
    ],
)
def test_what_cannot_be_read_is_told(content, told):
    with pytest.raises(UserError, match=told):
        image_files.decode(io.BytesIO(content))


def test_colours_of_ink_follow_their_profile():
    """The profile knows black ink only; without a profile, cyan is cyan."""
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for form in ("TIFF", "JPEG"):
        assert image_files.decode(encoded(cyan, form)).getpixel((3, 3)) == (0, 255, 255)
        with_profile = encoded(cyan, form, icc_profile=black_alone())
        assert image_files.decode(with_profile).getpixel((3, 3)) == (255, 255, 255)
    for wrong in (b"none", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        with pytest.raises(UserError, match="^its colour profile must be one of CMYK"):
            image_files.decode(encoded(cyan, "TIFF", icc_profile=wrong))


def test_lab_becomes_srgb():
    """sRGB's red has L 53, a 80 and b 67: https://en.wikipedia.org/wiki/SRGB."""
    red = Image.new("LAB", (8, 8), (round(53.2 * 2.55), 128 + 80, 128 + 67))
    found = image_files.decode(encoded(red, "TIFF")).getpixel((3, 3))
    assert np.abs(np.subtract(found, (255, 0, 0))).max() <= 20
