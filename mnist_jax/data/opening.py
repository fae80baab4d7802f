"""Image files as Pillow opens them: formats, sizes, and one-line errors for all others."""

import contextlib
import functools
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import open_regular

# The still images of Pillow. Left out are those that run programs (EPS, WMF), films (FLI, MPEG), icons (CUR,
# ICNS, ICO), which are decoded before their size is known, those without a decoder (BUFR, GRIB, HDF5), and
# FITS, whose scale and byte order Pillow ignores.
FORMATS = (
    "AVIF", "BLP", "BMP", "DCX", "DDS", "DIB", "FTEX", "GBR", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "MSP",
    "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM",
)  # fmt: skip
_IN_FRAMES = ("AVIF", "DCX", "GIF", "PNG", "TIFF", "WEBP")  # others have layers, thumbnails or depth
_MOST = 2**28  # bytes of a decoded image

HEIC_SUFFIXES = (".heic", ".heif", ".hif")
HEIC_REMEDY = "HEIC needs pillow-heif: pip install '.[heic]'"
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

_HEIGHT, _WIDTH, _BITS, _PHOTOMETRIC, _PLANES, _FORMAT = 323, 322, 258, 262, 284, 339  # tags of TIFF


@functools.cache
def readable() -> tuple[str, ...]:
    """Those of FORMATS that can be read here: HEIC needs pillow-heif, others Pillow's own libraries."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def opened(file: str | io.BytesIO, *, draft: int | None = None) -> Iterator[Image.Image]:
    """Opens an image, of which it reads the header, and checks that it can be decoded.

    draft: pixels per side that are needed: a JPEG is decoded at a lower resolution, no smaller than that.
    Raises UserError, also for errors in the body of the `with`: it is no such image, or damaged.
    """
    try:
        with _content(file) as content, Image.open(content, formats=readable()) as image:
            _require_size(image, draft)
            _require_meaning(image)
            _scale_transparency(image)
            yield image
    except Image.DecompressionBombError as error:
        raise UserError(f"it must have at most {_MOST >> 20} MiB when decoded; make it smaller") from error
    except UnidentifiedImageError as error:
        raise UserError(_unknown(file)) from error
    except OSError as error:
        raise UserError(error.strerror or f"it is damaged: {error}") from error
    except UserError:
        raise
    except Exception as error:  # decoders raise exceptions of many kinds for damaged files
        raise UserError(f"it is damaged: {type(error).__name__}: {error}") from error


def is_image(content: bytes) -> bool:
    """Whether this content is an image, damaged or not."""
    try:
        Image.open(io.BytesIO(content), formats=readable())
    except UnidentifiedImageError:
        return _is_heic(content)
    except Exception:  # known, but not readable
        return True
    return True


def is_reduced(image: Image.Image) -> bool:
    """Whether Pillow keeps 8 of its 16 bits per colour."""
    return image.mode in ("RGB", "RGBA") and ";16" in _raw_mode(image)


def is_grey(image: Image.Image) -> bool:
    """Whether an image can have no colour, by its mode and palette."""
    if image.mode in ("P", "PA"):
        colours = np.reshape(image.getpalette("RGB") or [0, 1, 2], (-1, 3))
        return bool((colours == colours[:, :1]).all())
    return image.mode in ("1", "L", "La", "LA") or is_deep(image) or "LA;" in _raw_mode(image)


def is_deep(image: Image.Image) -> bool:
    """Whether it has one number per pixel, of more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def has_frames(image: Image.Image) -> bool:
    """Whether it has more frames or pages than the first, which is read."""
    return image.format in _IN_FRAMES and getattr(image, "is_animated", False)


def tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    """The first value of a tag of a TIFF; the default for other files."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def is_inverted(image: Image.Image) -> bool:
    """Whether it is a TIFF whose 0 is white, which Pillow inverts for 8 bits only."""
    return is_deep(image) and tiff_tag(image, _PHOTOMETRIC, 1) == 0


def is_unsigned(image: Image.Image) -> bool:
    """Whether it is a TIFF of unsigned 32 bits, which Pillow reads as signed."""
    return image.mode == "I" and tiff_tag(image, _BITS, 0) == 32 and tiff_tag(image, _FORMAT, 1) == 1


def _content(file: str | io.BytesIO) -> contextlib.AbstractContextManager[Any]:
    return open_regular(file) if isinstance(file, str) else contextlib.nullcontext(file)


def _require_size(image: Image.Image, draft: int | None) -> None:
    size = image.size
    if draft:
        image.draft(None, (draft, draft))
        if not image.info.get("progressive"):  # otherwise all of it stays in memory
            size = image.size
    pixel = 1 if image.mode in ("1", "L") else 2 if image.mode.startswith("I;16") else 4
    tile = tiff_tag(image, _WIDTH, 0) * tiff_tag(image, _HEIGHT, 0)
    if max(math.prod(size), tile) * pixel > _MOST:
        raise Image.DecompressionBombError


def _require_meaning(image: Image.Image) -> None:
    """Refuses images that Pillow would read with other numbers than the file has."""
    if is_inverted(image) and image.mode != "I;16":
        raise UserError("it must have 8 or 16 bits where 0 is white; save it with 0 as black")
    if image.mode.startswith("RGB"):
        if tiff_tag(image, _PLANES, 1) == 2 and tiff_tag(image, _BITS, 8) > 8:
            raise UserError("it must have 8 bits per colour in separate planes (got 16); save it interleaved")
        if is_reduced(image) and "transparency" in image.info:
            raise UserError("it must have 8 bits per colour where one is transparent (got 16); convert it")


def _scale_transparency(image: Image.Image) -> None:
    """Scales the transparent level of a PNG of 2 or 4 bits, as Pillow scales only the pixels."""
    level, steps = image.info.get("transparency"), {"L;2": 3, "L;4": 15}.get(_raw_mode(image), 255)
    if isinstance(level, int) and level <= steps < 255:
        image.info["transparency"] = level * 255 // steps


def _raw_mode(image: Image.Image) -> str:
    tile = getattr(image, "tile", None)
    return str(tile[0].args) if tile else ""


def _unknown(file: str | io.BytesIO) -> str:
    with _content(file) as content:
        content.seek(0)
        heic = _is_heic(content.read(12))
    return HEIC_REMEDY if heic else "it is not an image that can be read"


def _is_heic(content: bytes) -> bool:
    return content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS
