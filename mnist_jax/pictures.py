"""Image files of any kind as a model takes them."""

import glob
import io
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, ImageOps

from mnist_jax.errors import UserError
from mnist_jax.ink import STYLES, fit_ink

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

_ENOUGH = 512  # pixels a side, more than any model here takes
_ONE_COLOUR = 25  # deviation of levels, of 255, below which all that is visible is ink


def find(names: Iterable[str]) -> Iterator[str]:
    """The files that names mean: files as they are, of folders all images below, of globs what they match.

    Raises UserError: a folder without images, a glob that matches nothing.
    """
    for name in names:
        if os.path.isdir(name):
            found = sorted(str(path) for path in pathlib.Path(name).rglob("*") if _is_image(path))
            missing = f"{name} has no {', '.join(SUFFIXES)} files in it"
        elif not os.path.exists(name) and glob.has_magic(name):
            found = sorted(path for path in glob.iglob(name, recursive=True) if os.path.isfile(path))
            missing = f"{name} matches no file"
        else:
            found, missing = [name], ""
        if not found:
            raise UserError(missing)
        yield from found


def _is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def is_image(content: bytes) -> bool:
    """Whether a file of this content is meant to be an image, damaged or not."""
    try:
        Image.open(io.BytesIO(content))
    except Image.UnidentifiedImageError:
        return False
    except Exception:  # known, but not to be read
        return True
    return True


def decode(file: str | io.BytesIO) -> Image.Image:
    """The image in a file, upright, as mode L or RGB; of several frames the first.

    Transparent images are put on white, or on black where they are light themselves.
    Raises UserError: it is no image that can be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.draft(None, (_ENOUGH, _ENOUGH))  # a photograph as JPEG is decoded to a part of its size
                return _plain(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise UserError("it is not an image of a kind that can be read") from error
    except OSError as error:
        raise UserError(error.strerror or f"it is damaged: {error}") from error
    except Exception as error:  # what decoders raise on damaged files is without end
        raise UserError(f"it is damaged: {type(error).__name__}: {error}") from error


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # more than 8 bits
        levels = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
        image = Image.fromarray(np.uint8((levels - levels.min()) / max(np.ptp(levels), 1e-9) * 255))
    grey = image.mode in ("1", "L", "La", "LA")
    transparent = image.has_transparency_data
    image = image.convert("RGBA" if transparent else "L" if grey else "RGB")
    image.thumbnail((2 * _ENOUGH, 2 * _ENOUGH))
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


def fit(image: Image.Image, shape: tuple[int, int, int], data_name: str) -> tuple[np.ndarray, str | None]:
    """An image as a model takes it, uint8 (H, W, C) of the shape given, and its ink: "dark" or "light".

    Digits are made to look like those of the set of that name, see `ink`. Others are scaled and cropped about
    their centre; their ink is None.
    Raises UserError: there is no digit on it.
    """
    height, width, channels = shape
    if data_name in STYLES and channels == 1:
        pixels, ink = fit_ink(np.asarray(image.convert("L")), height, STYLES[data_name])
        return pixels[..., None], ink
    image = image.convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(fitted).reshape(shape), None
