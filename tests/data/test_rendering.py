"""The rule by which the pictures of a set become 8-bit pixels."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from written import encoded, low_png, png, tiff

from mnist_jax.data.image_files import decode, own_rendering, survey
from mnist_jax.data.rendering import Facts, Levels, Rendering, choose_rendering, load_or_choose
from mnist_jax.system.errors import UserError


def facts(levels=None, vanishes=None, **changes) -> Facts:
    return Facts(True, levels, vanishes, reduced=False, frames=False)._replace(**changes)


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32]),
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
    ),
    st.sampled_from("<>"),
)
def test_levels_keep_their_order_and_use_the_range(pixels, order):
    """Whatever the levels: larger ones are no darker, and the highest are in the upper half."""
    if (pixels.dtype, order) == (np.uint32, ">") or not np.isfinite(pixels).any():
        return  # not readable by Pillow, or refused
    file = tiff(pixels, order=order)
    rendering = own_rendering(file)
    found = np.asarray(decode(file, rendering), int)
    finite = np.isfinite(pixels.ravel())
    by_level = found.ravel()[finite][np.argsort(pixels.ravel()[finite], kind="stable")]
    assert (np.diff(by_level) >= 0).all()
    highest = pixels[np.isfinite(pixels)].max()
    if (pixels.dtype.kind == "f" and highest > 2.0**-100) or (pixels.dtype.kind != "f" and highest >= 128):
        assert by_level[-1] >= 127


def test_the_training_split_alone_decides_and_what_exceeds_it_is_counted():
    dark, bright = facts(Levels("integer", 3, 4095)), facts(Levels("integer", 0, 65535))
    rendering = choose_rendering([dark, dark], [dark, dark, bright, facts(reduced=True), facts(frames=True)])
    assert rendering == Rendering(1, (0, 4096), None, 255, clipped=1, reduced=1, first_frames=1)
    assert rendering.notice() == (
        "integer levels from 0 up to 4096 become 0 to 255; clipped to that range: 1; with 16 bits per "
        "colour, of which 8 are read: 1; with several frames or pages, of which the first is read: 1"
    )
    pixels = np.array([[0, 4095, 4096, 65535]], np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(pixels)), rendering)).tolist() == [[0, 255, 255, 255]]


def test_plain_pictures_need_no_word():
    assert choose_rendering([facts()], [facts()]) == Rendering(channels=1)
    assert Rendering().notice() == ""
    assert choose_rendering([facts()], [facts(grey=False)]).channels == 3


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.float32([[0, 2]]), r"from 0 to 1 \(got 0 to 2\), since the training split has no real ones"),
        (np.int32([[-1, 2]]), r"from 0 to 65535 \(got -1 to 2\), since the training split has no integer"),
    ],
)
def test_levels_without_a_range_are_refused(pixels, told):
    with pytest.raises(UserError, match=told):
        decode(tiff(pixels))


def test_a_picture_without_a_finite_level_is_refused():
    with pytest.raises(UserError, match="must have levels that are finite"):
        survey(tiff(np.float32([[np.nan, np.inf]])))


def palette() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 10, 10, 40, 40, 40, 90, 90, 90])
    return image


GREY = Image.fromarray(np.array([[10, 40, 90]], np.uint8))
WIDE = np.array([[10, 40, 90]], np.uint16) << 8
KEYED = {
    "a palette's one": encoded(palette(), transparency=1),
    "a palette's bytes": encoded(palette(), transparency=bytes([255, 0, 255])),
    "a GIF's": encoded(palette(), "GIF", transparency=1),
    "a grey": encoded(GREY, transparency=40),
    "a colour": encoded(GREY.convert("RGB"), transparency=(40, 40, 40)),
    "16 bits": png(WIDE[..., None], tRNS=(40 << 8).to_bytes(2, "big")),
}


@pytest.mark.parametrize("kind", KEYED)
def test_a_transparent_level_is_put_on_the_ground(kind):
    found = np.asarray(decode(KEYED[kind], Rendering(ground=77)).convert("L"))
    assert found.tolist() == [[10, 77, 90]]


@pytest.mark.parametrize(("bits", "levels"), [(1, [0, 1]), (2, [0, 1, 3]), (4, [0, 5, 15])])
def test_a_transparent_level_of_few_bits_is_scaled_as_pixels_are(bits, levels):
    found = np.asarray(decode(low_png(levels, bits, transparent=levels[1]), Rendering(ground=77)))
    assert found.tolist() == [
        [77 if level == levels[1] else 255 * level // (2**bits - 1) for level in levels]
    ]


def test_what_is_kept_is_read_and_what_is_damaged_chosen_again(tmp_path):
    path, chosen = tmp_path / "deep" / "kept.json", Rendering(1, (0, 4096), None, 0, 1, 2, 3, 4)
    assert load_or_choose(path, lambda: chosen) == chosen._replace(integer=[0, 4096])
    assert load_or_choose(path, pytest.fail) == chosen._replace(integer=[0, 4096])
    path.write_bytes(path.read_bytes().replace(b"4096", b"4097"))
    assert load_or_choose(path, lambda: Rendering()) == Rendering()
    (tmp_path / "file").touch()
    assert load_or_choose(tmp_path / "file" / "x.json", lambda: chosen).clipped == 1


def test_truncated_files_are_refused_in_all_formats():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for form in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "TGA", "JPEG2000", "QOI", "AVIF"):
        content = encoded(noise, form).getvalue()
        decode(io.BytesIO(content))
        with pytest.raises(UserError):
            decode(io.BytesIO(content[: len(content) // 2]))
