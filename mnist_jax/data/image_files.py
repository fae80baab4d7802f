"""Image files of any format, as images for a model."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms, ImageOps

from mnist_jax.data.opening import FORMATS, has_frames, is_deep, is_grey, is_reduced, opened, readable
from mnist_jax.data.rendering import (
    Facts,
    Rendering,
    choose_rendering,
    find_levels,
    find_vanishing,
    to_8_bits,
)
from mnist_jax.system.errors import UserError

ENOUGH = 512  # pixels a side, more than most models here take

_ONE_COLOUR = 25  # standard deviation of levels, of 255, below which everything visible is ink


@functools.cache
def _suffixes() -> tuple[str, ...]:
    """Lower case, of all formats that this program reads."""
    readable()  # `init` registers the formats
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS))


def is_image_name(name: str) -> bool:
    """Whether a file has the name of an image that can be read, and is not hidden."""
    return name.lower().endswith(_suffixes()) and not name.startswith(".")


def decode(
    file: str | io.BytesIO, rendering: Rendering | None = None, *, enough: int | None = ENOUGH
) -> Image.Image:
    """The image in a file, upright, as mode L or RGB; the first of several frames or pages.

    Colours stay as stored, except that CMYK and LAB become sRGB, by the file's profile if it has one.

    file: its path, or its content.
    rendering: of its set, for deep and transparent images; None: the default.
    enough: pixels per side that are needed; much larger images are decoded at a lower resolution. None: all.
    Raises UserError: it is not an image that can be read.
    """
    rendering = rendering or Rendering()
    with opened(file, draft=enough) as image:
        grey = is_grey(image)
        ImageOps.exif_transpose(image, in_place=True)
        plain = _shrunk(_plain(image, rendering, grey=grey), enough)
        return _on_ground(plain, rendering.ground).convert("L" if grey else "RGB")


def survey(file: str | io.BytesIO) -> Facts:
    """The properties of a file that decide how its set is rendered.

    Decodes only deep and transparent images.
    Raises UserError: it is not an image that can be read.
    """
    with opened(file) as image:
        grey, reduced, frames = is_grey(image), is_reduced(image), has_frames(image)
        levels = find_levels(image) if is_deep(image) else None
        facts = Facts(grey, levels, None, reduced, frames)
        if not image.has_transparency_data:
            return facts
        visible = to_8_bits(image, choose_rendering([facts], [facts])) if levels else image
        return facts._replace(vanishes=find_vanishing(_shrunk(visible.convert("RGBA"), ENOUGH)))


def own_rendering(file: str | io.BytesIO) -> Rendering:
    """The rendering that a file would have as a set of its own."""
    facts = [survey(file)]
    return choose_rendering(facts, facts)


def _plain(image: Image.Image, rendering: Rendering, *, grey: bool) -> Image.Image:
    """An image as mode L, RGB or RGBA, which has 8 bits."""
    if is_deep(image):
        image = to_8_bits(image, rendering)
    mode = "RGBA" if image.has_transparency_data else "L" if grey else "RGB"
    profile = image.info.get("icc_profile") if image.mode == "CMYK" else None
    if profile or image.mode == "LAB":
        return _to_srgb(image, profile)
    return image if image.mode == mode else image.convert(mode)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A CMYK or LAB image converted to sRGB, by its profile if it has one."""
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise UserError(
            f"its colour profile must be one of {image.mode} (got another); save it as RGB"
        ) from error
    assert converted
    return converted


def _shrunk(image: Image.Image, enough: int | None) -> Image.Image:
    if enough:
        image.thumbnail((2 * enough, 2 * enough))
    return image


def _on_ground(image: Image.Image, ground: int | None) -> Image.Image:
    """An image on a ground; None: on the one that its ink needs."""
    if image.mode != "RGBA":
        return image
    level = _ground_of_ink(image) if ground is None else ground
    return Image.alpha_composite(Image.new("RGBA", image.size, (level, level, level, 255)), image)


def _ground_of_ink(image: Image.Image) -> int:
    """The ground that makes the ink of an image (RGBA) visible, or that continues its paper."""
    pixels = np.asarray(image, np.float32)
    levels, opacity = pixels[..., :3].mean(axis=-1), pixels[..., 3]
    if not opacity.any():
        return 0
    mean = np.average(levels, weights=opacity)
    if np.average((levels - mean) ** 2, weights=opacity) < _ONE_COLOUR**2:
        return 0 if mean > 127 else 255
    counts, _ = np.histogram(levels, bins=16, range=(0, 256), weights=opacity)
    return int(counts.argmax()) * 16 + 8
