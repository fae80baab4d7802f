"""Files that Pillow would trust, wait for, or read with wrong numbers."""

import io
import os

import numpy as np
import pytest
from PIL import Image
from written import declared_png, encoded, tiff

from mnist_jax.data.opening import FORMATS, HEIC_REMEDY, has_frames, is_grey, is_image, opened
from mnist_jax.system.errors import UserError


def in_one_tile(side: int) -> io.BytesIO:
    """A TIFF of 8 x 8 pixels in a tile of `side` x `side`, for which decoders allocate memory."""
    return tiff(np.zeros((8, 8), np.float32), tile=side)


LARGE = {
    "pixels": declared_png(12_000),
    "a bomb to Pillow": declared_png(60_000),
    "GIF": encoded(Image.new("L", (20_000, 16_000)), "GIF"),
    "float TIFF": tiff(np.zeros((1, 1), np.float32), size=(10_000, 10_000)),
    "a tile": in_one_tile(16_000),
    "a progressive JPEG": encoded(Image.new("L", (17_000, 17_000)), "JPEG", progressive=True),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", LARGE)
def test_a_size_is_checked_before_it_is_believed(kind):
    told = "^it must have at most 256 MiB when decoded; make it smaller$"
    with pytest.raises(UserError, match=told), opened(LARGE[kind], draft=512):
        pytest.fail("it would be decoded")


def test_a_large_photograph_is_decoded_to_a_part_of_its_size():
    with opened(encoded(Image.new("RGB", (9_000, 9_000)), "JPEG"), draft=512) as image:
        assert image.size == (1125, 1125)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for path in (tmp_path / "fifo.png", tmp_path / "zero.png", tmp_path):
        with pytest.raises(UserError, match="^not a regular file$"), opened(str(path)):
            pass


def test_heic_without_its_decoder_names_the_extra():
    heic = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)
    assert is_image(heic)
    if "HEIF" not in Image.OPEN:
        with pytest.raises(UserError) as caught, opened(io.BytesIO(heic)):
            pass
        assert str(caught.value) == HEIC_REMEDY


def test_names_are_no_image():
    for names in (b"", b"a.png\nb.png\n", b"P1.png\nP2.png\n", b"BM.bmp", b"/* XPM */", b"#define.png"):
        assert not is_image(names)


PLAIN = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
COLOURS = np.stack([PLAIN, PLAIN // 2, PLAIN], axis=-1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tiff(PLAIN.astype(np.float32), white=0), "must have 8 or 16 bits where 0 is white"),
        (tiff(COLOURS, planes=True), "must have 8 bits per colour in separate planes"),
    ],
)
def test_what_pillow_would_read_with_other_numbers_is_refused(content, told):
    with pytest.raises(UserError, match=told), opened(content):
        pass


def test_frames_are_those_of_films_and_pages():
    two = {"save_all": True, "append_images": [Image.new("L", (9, 9), 9)]}
    for form in ("GIF", "PNG", "TIFF", "WEBP"):
        for options, expected in (({}, False), (two, True)):
            with opened(encoded(Image.new("L", (9, 9)), form, **options)) as image:
                assert has_frames(image) == expected


def test_grey_is_told_by_the_head_of_the_file():
    grey, coloured = Image.linear_gradient("L"), Image.new("RGB", (9, 9), (1, 2, 3))
    tinted = Image.fromarray(np.zeros((2, 2), np.uint8))
    tinted.putpalette([0, 0, 0, 1, 2, 3])
    cases = [(grey.convert(mode), "TIFF", True) for mode in ("1", "L", "LA", "I", "F", "I;16", "P")]
    cases += [(grey.convert("P"), "GIF", True), (tinted, "PNG", False), (tinted, "GIF", False)]
    cases += [
        (coloured.convert(mode), "TIFF", False) for mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LAB", "P")
    ]
    for image, form, expected in cases:
        with opened(encoded(image, form)) as found:
            assert is_grey(found) == expected, (image.mode, form)


def test_formats_are_those_of_pillow():
    assert set(FORMATS) - {"HEIF", "MPO"} - set(Image.OPEN) <= {
        "AVIF"
    }  # of which some builds have no decoder
