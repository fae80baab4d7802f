import contextlib

import hypothesis.extra.numpy
import numpy as np
import pytest
from drawn import seven
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.serving.ink import STYLES, Style, fit_ink, otsu
from mnist_jax.system.errors import UserError

MNIST = STYLES["mnist"]


def centre_of_mass(image):
    places = np.indices(image.shape).reshape(2, -1)
    return places @ image.ravel() / image.sum()


def likeness(image, other):
    """The correlation of two images, one moved by a pixel where that is better."""
    moved = [np.roll(other, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return max(np.corrcoef(image.ravel(), one.ravel())[0, 1] for one in moved)


def longer_side(image):
    rows, columns = np.nonzero(image > 40)
    return max(np.ptp(rows), np.ptp(columns)) + 1


@given(
    side=st.integers(40, 400),
    margins=st.lists(st.integers(0, 150), min_size=4, max_size=4),
    ink=st.integers(0, 80),
    paper=st.integers(150, 255),
    dark=st.booleans(),
)
def test_whatever_its_size_place_and_colours_a_digit_lies_as_in_mnist(side, margins, ink, paper, dark):
    levels = (paper, ink) if dark else (ink, paper)
    drawn = np.interp(seven(side), (0, 255), levels)
    top, bottom, left, right = margins
    grey = np.pad(drawn, ((top, bottom), (left, right)), constant_values=levels[0]).astype(np.uint8)
    fitted, found = fit_ink(grey, 28, MNIST)
    assert found == ("dark" if dark else "light")
    assert abs(longer_side(fitted) - 20) <= 1
    assert np.all(np.abs(centre_of_mass(fitted) - 14) <= 1)
    assert fitted.max() > 200
    assert likeness(fitted, fit_ink(seven(), 28, MNIST)[0]) > 0.85


def test_what_is_as_in_mnist_stays_as_it_is():
    fitted, _ = fit_ink(seven(), 28, MNIST)
    again, ink = fit_ink(fitted, 28, MNIST)
    np.testing.assert_array_equal(again, fitted)
    assert ink == "light"
    turned, ink = fit_ink(255 - fitted, 28, MNIST)
    np.testing.assert_array_equal(turned, fitted)
    assert ink == "dark"


def test_a_photograph_with_a_shadow_noise_and_dust():
    noise = np.random.default_rng(0).normal(0, 4, (300, 300))
    paper = np.linspace(150, 230, 300)[:, None] + np.linspace(-20, 20, 300)[None]
    photo = paper * (1 - 0.8 * seven(300) / 255.0) + noise
    photo[10:14, 280:284] = 20
    fitted, ink = fit_ink(np.uint8(np.clip(photo, 0, 255)), 28, MNIST)
    assert ink == "dark"
    assert likeness(fitted, fit_ink(seven(300), 28, MNIST)[0]) > 0.8


@pytest.mark.parametrize(
    ("fall", "ink", "side"), [(0.3, 0.8, 300), (0.25, 0.3, 150)], ids=["strong light", "a pencil"]
)
def test_a_small_digit_in_light_from_one_side(fall, ink, side):
    """Whose ground differs more than ink and ground do."""
    paper = np.linspace(0.85, 0.85 - fall, 900)[:, None] * np.ones(700)
    drawn = np.pad(seven(side) / 255, ((200, 700 - side), (300, 400 - side)))
    fitted, found = fit_ink(np.uint8(paper * (1 - ink * drawn) * 255), 28, MNIST)
    assert found == "dark"
    assert likeness(fitted, fit_ink(seven(300), 28, MNIST)[0]) > 0.9


@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("level", [0, 128])
@pytest.mark.parametrize("side", [28, 200])
def test_a_frame_is_not_the_ground(side, level, width):
    framed = 255 - seven(side)
    width = min(width, side // 14)
    framed[:width] = framed[-width:] = framed[:, :width] = framed[:, -width:] = level
    fitted, found = fit_ink(framed, 28, MNIST)
    assert found == "dark"
    assert likeness(fitted, fit_ink(seven(side), 28, MNIST)[0]) > 0.8


@given(hypothesis.extra.numpy.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_whatever_it_is_it_is_fitted_or_told(grey):
    for side, style in ((28, MNIST), (8, STYLES["digits"])):
        with contextlib.suppress(UserError):
            fitted, _ = fit_ink(grey, side, style)
            assert (fitted.shape, fitted.dtype) == ((side, side), np.uint8)


def test_a_fine_pen_is_thickened():
    fine = np.zeros((300, 300), np.uint8)
    fine[40:260, 150:152] = 255
    fitted, _ = fit_ink(fine, 28, MNIST)
    assert fitted.max() > 200
    assert (fitted > 127).sum() >= 1.5 * 20  # at least one and a half pixels wide


def test_a_style_of_boxes_fills_the_image():
    fitted, _ = fit_ink(seven(200), 8, Style(1.0, by_mass=False))
    assert fitted.shape == (8, 8)
    assert fitted[0].max() > 100
    assert fitted[-1].max() > 100


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_image_shows_nothing(level, noise):
    grey = np.random.default_rng(0).normal(level, noise, (300, 300))
    with pytest.raises(UserError, match="shows nothing"):
        fit_ink(np.uint8(np.clip(grey, 0, 255)), 28, MNIST)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=50).filter(lambda xs: max(xs) > min(xs)))
def test_otsu_parts_as_no_other_level_does_better(values):
    """To within the 256 bins of its histogram."""
    values = np.asarray(values, np.float64)

    def within(level):
        groups = [group for group in (values[values <= level], values[values > level]) if len(group)]
        return sum(group.var() * len(group) for group in groups)

    threshold = otsu(values)
    assert values.min() <= threshold < values.max()
    bins = np.ptp(values) / 256
    best = min(within(level) for level in np.unique(values)[:-1])
    assert within(threshold) <= best + len(values) * (bins * np.ptp(values) * 2 + bins**2)
