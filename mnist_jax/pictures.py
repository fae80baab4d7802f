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
        levels = np.asarray(image, np.float64)
        white = next(white for white in (1, 255, 65535, np.inf) if levels.max() <= white)
        image = Image.fromarray(np.uint8(np.clip(levels / white, 0, 1) * 255))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        pixels = np.asarray(image, np.float64)
        opacity = pixels[..., 3].sum()
        light = opacity and (pixels[..., :3].mean(-1) * pixels[..., 3]).sum() / opacity > 127
        ground = Image.new("RGBA", image.size, "black" if light else "white")
        image = Image.alpha_composite(ground, image)
    grey = image.mode in ("1", "L", "La", "LA")
    return image.convert("L" if grey else "RGB")


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
