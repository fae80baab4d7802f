import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from configs import default
from mnist_jax.data.augment import augment, views

pytestmark = pytest.mark.whole

KEY = jax.random.key(3)


def settings(**strengths):
    config = default.get_config().augment
    config.update(strengths)
    return config


def random_images(batch=16, height=12, width=10, channels=1):
    return jax.random.uniform(jax.random.key(0), (batch, height, width, channels))


def test_without_strength_images_stay_as_they_are():
    images = random_images()
    assert augment(KEY, images, settings()) is images


@pytest.mark.parametrize(
    "strengths",
    [
        {"shift": 2.0},
        {"rotation": 20.0},
        {"scale": 0.3},
        {"cutout": 5},
        {"flip": True},
        {"shear": 0.3},
        {"elastic": 1.0},
        {"crop": 4},
        {"resized_crop": 0.35},
    ],
)
def test_each_image_is_changed_in_its_own_way_by_the_key_alone(strengths):
    images = jnp.repeat(random_images(batch=1, channels=3), 64, axis=0)
    once = augment(KEY, images, settings(**strengths))
    assert once.shape == images.shape
    assert once.dtype == images.dtype
    np.testing.assert_array_equal(once, augment(KEY, images, settings(**strengths)))
    assert len({image.tobytes() for image in np.asarray(once)}) > (1 if "flip" in strengths else 30)
    assert not np.array_equal(once, augment(jax.random.key(4), images, settings(**strengths)))
    assert once.min() >= 0
    assert once.max() <= images.max() + 1e-6


@pytest.mark.parametrize(
    ("shift", "rotation", "scale"), [(1.5, 0.0, 0.0), (0.0, 25.0, 0.0), (0.0, 0.0, 0.2), (1.5, 25.0, 0.2)]
)
def test_the_warp_is_a_similarity_within_the_limits(shift, rotation, scale):
    """Bilinear sampling of an image whose pixels hold their own coordinates shows where each came from."""
    side, batch = 21, 200
    y, x = jnp.meshgrid(jnp.arange(side) - 10.0, jnp.arange(side) - 10.0, indexing="ij")
    coordinates = jnp.stack([y, x, jnp.ones_like(y)], axis=-1)[None].repeat(batch, axis=0)
    warped = np.asarray(augment(KEY, coordinates, settings(shift=shift, rotation=rotation, scale=scale)))
    inner = np.s_[8:13, 8:13]
    target = np.stack([*np.meshgrid(np.arange(-2, 3), np.arange(-2, 3), indexing="ij"), np.ones((5, 5))], -1)
    found = []
    for image in warped:
        np.testing.assert_allclose(image[inner][..., 2], 1, atol=1e-5)
        matrix, residual, *_ = np.linalg.lstsq(
            target.reshape(-1, 3), image[inner][..., :2].reshape(-1, 2), rcond=None
        )
        assert residual.max() < 1e-6
        (yy, yx), (xy, xx), offset = matrix
        np.testing.assert_allclose([yy, yx], [xx, -xy], atol=1e-4)
        found.append([1 / np.hypot(yy, yx), np.degrees(np.arctan2(yx, yy)), *offset])
    factors, angles, *offsets = np.asarray(found).T
    for values, centre, limit in [
        (factors, 1, scale),
        (angles, 0, rotation),
        (offsets[0], 0, shift),
        (offsets[1], 0, shift),
    ]:
        assert np.abs(values - centre).max() <= limit + 1e-3
        assert np.abs(values - centre).max() >= 0.9 * limit
        assert abs(values.mean() - centre) <= 0.2 * limit + 1e-3


def test_what_comes_in_from_outside_is_black():
    white = jnp.ones((50, 8, 8, 1))
    shifted = np.asarray(augment(KEY, white, settings(shift=3.0)))
    assert (shifted.min(axis=(1, 2, 3)) == 0).mean() > 0.8
    np.testing.assert_allclose(shifted[:, 3:5, 3:5], 1, atol=1e-6)


def test_flip_mirrors_about_half_of_the_images():
    images = random_images(batch=400)
    flipped = np.asarray(augment(KEY, images, settings(flip=True)))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_cutout_blacks_out_one_square():
    white = jnp.ones((300, 12, 12, 3))
    cut = np.asarray(augment(KEY, white, settings(cutout=4))) == 0
    np.testing.assert_array_equal(cut[..., 0], cut[..., 2])
    areas = cut[..., 0].sum(axis=(1, 2))
    assert areas.max() == 16
    assert areas.min() >= 4  # a corner
    rows, columns = cut[..., 0].any(axis=2).sum(axis=1), cut[..., 0].any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, areas)


def test_a_crop_is_the_image_moved_by_whole_pixels_and_reflected_at_its_border():
    images = np.asarray(random_images(batch=64))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    found = set()
    for number, cropped in enumerate(np.asarray(augment(KEY, images, settings(crop=1)))):
        cuts = {(y, x): padded[number, y : y + 12, x : x + 10] for y in range(3) for x in range(3)}
        (corner,) = [corner for corner, cut in cuts.items() if np.array_equal(cut, cropped)]
        found.add(corner)
    assert len(found) == 9


def displacements(**strengths):
    """The displacement of each pixel of 200 warped images: (200, 9, 9, 2) of the middle."""
    y, x = jnp.meshgrid(jnp.arange(21.0), jnp.arange(21.0), indexing="ij")
    coordinates = jnp.stack([y, x], axis=-1)
    warped = augment(KEY, jnp.repeat(coordinates[None], 200, axis=0), settings(**strengths))
    return np.asarray(warped - coordinates)[:, 6:15, 6:15]


def test_shear_moves_rows_sideways_in_proportion_to_their_height():
    moved = displacements(shear=0.3)
    np.testing.assert_allclose(moved[..., 0], 0, atol=1e-4)
    slopes = moved[:, 0, 0, 1] / -4
    expected = slopes[:, None, None] * np.arange(-4, 5)[:, None]
    np.testing.assert_allclose(moved[..., 1], np.broadcast_to(expected, (200, 9, 9)), atol=1e-4)
    assert 0.27 < np.abs(slopes).max() <= 0.3


def test_elastic_displacements_are_smooth_and_as_large_as_asked():
    moved = displacements(elastic=0.5)
    assert 0.3 < moved.std() < 0.6
    assert abs(moved.mean()) < 0.05
    assert np.abs(np.diff(moved, axis=1)).std() < 0.3 * moved.std()
    assert np.array_equal(displacements(elastic=0.0), np.zeros_like(moved))


def test_views_are_the_image_moved_and_mirrored():
    images = random_images(batch=3)
    config = default.get_config().evaluation
    (same,) = views(images, config)
    np.testing.assert_array_equal(same, images)
    config.update(shift=2, flip=True)
    looks = np.asarray(views(images, config))
    assert looks.shape == (18, *images.shape)
    np.testing.assert_array_equal(looks[0], images)
    np.testing.assert_array_equal(looks[9:], looks[:9, :, :, ::-1])
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = {padded[:, y : y + 12, x : x + 10].tobytes() for y in (0, 2, 4) for x in (0, 2, 4)}
    assert {look.tobytes() for look in looks[:9]} == expected


def bilinear(image, rows, columns):
    """In float64: interpolated between the centres of pixels, and clamped beyond the outermost ones."""
    rows, columns = np.clip(rows, 0, image.shape[0] - 1), np.clip(columns, 0, image.shape[1] - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down, along = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = (1 - along) * image[top][:, left] + along * image[top][:, right]
    lower = (1 - along) * image[below][:, left] + along * image[below][:, right]
    return (1 - down) * upper + down * lower


def test_a_resized_crop_is_a_part_of_the_image_enlarged_bilinearly():
    """A ramp, which bilinear sampling keeps, shows the part; noise under the same key is compared."""
    height, width, least, batch = 17, 24, 0.35, 200
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    ramp = jnp.asarray(np.stack([y, x], -1)[None].repeat(batch, 0), jnp.float32)
    noise = np.random.default_rng(0).uniform(size=(batch, height, width, 2))
    found = np.asarray(augment(KEY, ramp, settings(resized_crop=least)), np.float64)
    cropped = np.asarray(augment(KEY, jnp.float32(noise), settings(resized_crop=least)))
    sides = []
    for coordinates, image, expected in zip(found, cropped, noise, strict=True):
        rows, columns = coordinates[:, width // 2, 0], coordinates[height // 2, :, 1]
        inner = slice(3, -3)  # outside of the image's outermost centres the ramp is cut off
        steps = [np.diff(values[inner]).mean() for values in (rows, columns)]
        sides.append(steps)
        middles = rows[height // 2], columns[width // 2]
        exact = [
            middle + step * (np.arange(size) - size // 2)
            for middle, step, size in zip(middles, steps, (height, width), strict=True)
        ]
        assert all(
            values[0] > -0.5 - 1e-3 and values[-1] < size - 0.5 + 1e-3
            for values, size in zip(exact, (height, width), strict=True)
        )
        np.testing.assert_allclose(image, bilinear(expected, *exact), atol=1e-3)
    rows, columns = np.array(sides).T
    assert (rows * columns > least - 0.01).all()
    assert (rows <= 1 + 1e-5).all()
    assert (columns <= 1 + 1e-5).all()
    assert (columns / rows > 0.75 - 0.01).all()
    assert (columns / rows < 4 / 3 + 0.01).all()
    assert np.ptp(rows * columns) > 0.5
    assert np.ptp(columns / rows) > 0.4


ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


@pytest.mark.parametrize("name", ENHANCERS)
def test_colours_change_as_pillow_changes_them(name):
    """The factor of each image is found by least squares; Pillow rounds, its grey twice."""
    images = np.random.default_rng(0).integers(90, 160, (40, 9, 8, 3), np.uint8)
    found = np.asarray(augment(KEY, jnp.float32(images / 255), settings(**{name: 0.4}))) * 255
    factors = []
    for before, after in zip(images, found, strict=True):
        enhancer = ENHANCERS[name](Image.fromarray(before))
        none = np.asarray(enhancer.enhance(0.0), np.float64)
        factor = ((after - none) * (before - none)).sum() / ((before - none) ** 2).sum()
        np.testing.assert_allclose(after, np.asarray(enhancer.enhance(factor)), atol=2.5)
        factors.append(factor)
    assert 0.59 < min(factors) < 0.7
    assert 1.3 < max(factors) < 1.41


def test_all_three_changes_of_colour_stay_within_black_and_white_and_keep_grey():
    images = random_images(channels=3)
    changed = augment(KEY, images, settings(brightness=1.0, contrast=1.0, saturation=1.0))
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    grey = random_images(channels=1)
    np.testing.assert_allclose(augment(KEY, grey, settings(saturation=1.0)), grey, atol=1e-6)


@pytest.mark.parametrize("strengths", [{"resized_crop": 0.35}, {"contrast": 0.5}])
def test_what_was_random_before_stays_as_it_was(strengths):
    """Other changes draw from streams of their own."""
    flat = jnp.full((64, 8, 8, 1), 0.5)
    alone = augment(KEY, flat, settings(cutout=3))
    both = augment(KEY, flat, settings(cutout=3, **strengths))
    np.testing.assert_array_equal(alone == 0, both == 0)
