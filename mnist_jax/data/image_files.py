"""Image files of any kind as a model takes them."""

import contextlib
import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_jax.system.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

# Others are left out that run programs, such as EPS, or that few have tried to break.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
ENOUGH = 512  # pixels a side, more than most models here take

_GREY = ("1", "L", "La", "LA")  # modes of Pillow
_DEEP = ("I", "F")  # how those begin that are grey with more than 8 bits
_ONE_COLOUR = 25  # deviation of levels, of 255, below which all that is visible is ink


def is_image_name(name: str) -> bool:
    """Whether a file is named as an image of a kind that can be read, and not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def is_image(content: bytes) -> bool:
    """Whether a file of this content is meant to be an image, damaged or not."""
    try:
        Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        return False
    except Exception:  # known, but not to be read
        return True
    return True


def decode(file: str | io.BytesIO, *, enough: int | None = ENOUGH) -> Image.Image:
    """The image in a file, upright, as mode L or RGB; of several frames the first.

    Transparent images are put on white, or on black where they are light themselves.
    enough: pixels a side that are of use: images much larger are shrunk at once; None: never.
    Raises UserError: it is no image that can be read.
    """
    with _opened(file) as image:
        if enough:
            image.draft(None, (enough, enough))  # a photograph as JPEG is decoded to a part of its size
        return _plain(ImageOps.exif_transpose(image), enough)


def is_grey(file: str | io.BytesIO) -> bool:
    """Whether an image can have no colour, by the head of its file alone.

    Raises UserError: it is no image.
    """
    with _opened(file) as image:
        if image.mode == "P":
            colours = np.reshape(image.getpalette("RGB") or [0, 1, 2], (-1, 3))
            return bool((colours == colours[:, :1]).all())
        return image.mode in _GREY or image.mode.startswith(_DEEP)


@contextlib.contextmanager
def _opened(file: str | io.BytesIO) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError as error:
        raise UserError(f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise UserError("it is not an image of a kind that can be read") from error
    except OSError as error:
        raise UserError(error.strerror or f"it is damaged: {error}") from error
    except Exception as error:  # what decoders raise on damaged files is without end
        raise UserError(f"it is damaged: {type(error).__name__}: {error}") from error


def _plain(image: Image.Image, enough: int | None) -> Image.Image:
    if image.mode.startswith(_DEEP):
        levels = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
        image = Image.fromarray(np.uint8((levels - levels.min()) / max(np.ptp(levels), 1e-9) * 255))
    grey = image.mode in _GREY
    transparent = image.has_transparency_data
    image = image.convert("RGBA" if transparent else "L" if grey else "RGB")
    if enough:
        image.thumbnail((2 * enough, 2 * enough))
    return (_on_ground(image) if transparent else image).convert("L" if grey else "RGB")


def _on_ground(image: Image.Image) -> Image.Image:
    """A transparent image (RGBA) on the ground that its ink needs, or on more of its own paper."""
    pixels = np.asarray(image, np.float32)
    levels, opacity = pixels[..., :3].mean(axis=-1), pixels[..., 3]
    if not opacity.any():
        return Image.new("RGB", image.size)
    mean = np.average(levels, weights=opacity)
    if np.average((levels - mean) ** 2, weights=opacity) < _ONE_COLOUR**2:
        ground = 0 if mean > 127 else 255
    else:
        counts, _ = np.histogram(levels, bins=16, range=(0, 256), weights=opacity)
        ground = int(counts.argmax()) * 16 + 8
    return Image.alpha_composite(Image.new("RGBA", image.size, (ground, ground, ground, 255)), image)
