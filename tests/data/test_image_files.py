import io

import numpy as np
import pytest
from drawn import seven
from PIL import Image

from mnist_jax.data import image_files
from mnist_jax.serving import pictures
from mnist_jax.system.errors import UserError


def file(image, form="PNG", **options) -> io.BytesIO:
    content = io.BytesIO()
    image.save(content, form, **options)
    content.seek(0)
    return content


# The value of EXIF's tag 274, and how an image is turned that is shown upright under it.
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
    decoded = np.asarray(image_files.decode(file(turned, "PNG", exif=exif)), int)
    np.testing.assert_array_equal(decoded, np.asarray(upright))


def modes():
    grey = Image.fromarray(seven(64))
    ink = Image.new("RGBA", grey.size, (20, 30, 90, 0))
    ink.putalpha(grey)
    chalk = Image.new("RGBA", grey.size, (250, 250, 240, 0))
    chalk.putalpha(grey)
    wide = np.asarray(grey).astype(np.uint16) * 257
    return {
        "grey": (grey, "PNG"),
        "bilevel": (grey.convert("1"), "BMP"),
        "palette": (grey.convert("P"), "GIF"),
        "colour": (grey.convert("RGB"), "WEBP"),
        "CMYK": (grey.convert("CMYK"), "JPEG"),
        "16 bits": (Image.fromarray(wide), "PNG"),
        "12 of 16 bits": (Image.fromarray(wide // 16), "PNG"),
        "float": (Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"),
        "transparent": (ink, "PNG"),
        "transparent and light": (chalk, "WEBP"),
    }


@pytest.mark.parametrize("mode", modes())
def test_the_same_digit_whatever_the_mode(mode):
    image, form = modes()[mode]
    expected, _ = pictures.fit_image(Image.fromarray(seven(64)), (28, 28, 1), "mnist")
    fitted, ink = pictures.fit_image(image_files.decode(file(image, form)), (28, 28, 1), "mnist")
    assert fitted.shape == (28, 28, 1)
    assert np.abs(fitted.astype(int) - expected).mean() < 12
    assert ink == ("dark" if mode == "transparent" else "light")


@pytest.mark.parametrize("paper", [250, 10])
def test_paper_with_a_transparent_margin_goes_on_more_paper(paper):
    drawn = np.interp(seven(100), (0, 255), (paper, 255 - paper)).astype(np.uint8)
    card = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    card.paste(Image.fromarray(drawn).convert("RGBA"), (30, 30))
    fitted, ink = pictures.fit_image(image_files.decode(file(card)), (28, 28, 1), "mnist")
    expected, _ = pictures.fit_image(Image.fromarray(seven(100)), (28, 28, 1), "mnist")
    assert ink == ("dark" if paper > 127 else "light")
    assert np.abs(fitted.astype(int) - expected).mean() < 12


def test_other_sets_are_scaled_and_cropped_about_the_middle():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 10:110] = (200, 100, 50)
    fitted, ink = pictures.fit_image(Image.fromarray(wide), (8, 8, 3), "cifar10")
    np.testing.assert_array_equal(fitted, np.broadcast_to((200, 100, 50), (8, 8, 3)))
    assert ink is None
    grey, _ = pictures.fit_image(Image.fromarray(wide), (8, 8, 1), "fashion_mnist")
    assert grey.shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not an image"),
        (b"text", "not an image"),
        (file(Image.fromarray(seven(64))).getvalue()[:200], "damaged"),
    ],
)
def test_what_cannot_be_read_is_told(content, told):
    with pytest.raises(UserError, match=told):
        image_files.decode(io.BytesIO(content))


def test_a_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="more than 1,000 pixels"):
        image_files.decode(file(Image.new("L", (100, 100))))


@pytest.mark.parametrize("kind", modes())
def test_grey_is_told_by_the_head_of_the_file(kind):
    image, form = modes()[kind]
    grey = kind not in ("colour", "CMYK", "transparent", "transparent and light")
    assert image_files.is_grey(file(image, form)) == grey
