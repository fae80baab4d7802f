"""A split as a table stores it, and the checks that tables of every kind share."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mnist_jax.data.sources import in_natural_order, some
from mnist_jax.system.errors import UserError

ROUND = "multiply by 255 and round: (255 * images).round().astype('uint8')"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}(\.0*)?", re.ASCII)


class Unlabelled(UserError):
    """A table has no labels."""


class Pictures(NamedTuple):
    """Encoded images of a split.

    Attributes:
        open: row -> a file's path or its content.
        where: row -> its name in errors.
        stamps: change when the images do and the table does not.
    """

    open: Callable[[int], str | io.BytesIO]
    where: Callable[[int], str]
    stamps: Sequence[object] = ()


class Part(NamedTuple):
    """A split as a table stores it, in the order of its rows.

    Attributes:
        labels: classes as strings (N,).
        images: uint8 (N, H, W, C), or encoded.
        class_names: by label, if the table has them; then labels are indices into it.
        notes: lines about decisions made for the user.
    """

    labels: np.ndarray
    images: np.ndarray | Pictures
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def image_shape(where: str, pixels: int) -> tuple[int, int, int]:
    """Height, width and channels of a square image with this number of pixel values.

    Raises:
        UserError: It is not square.
    """
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if pixels and channels * side * side == pixels:
            return side, side, channels
    raise UserError(
        f"{where} must have the pixels of a square image, grey or RGB, such as 784 or 3072 (got {pixels:,}); "
        "remove other columns, or save images of another shape as .npz"
    )


def notes_on(where: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """A line about the assumed order of the pixel values of colour images; none for grey ones."""
    height, width, channels = shape
    if channels == 1:
        return ()
    return (
        f"the values of {where} are taken as {height} rows of {width} pixels, red, green and blue of each",
    )


def images_of(where: str, images: np.ndarray) -> np.ndarray:
    """Images as uint8 (N, H, W, C).

    Args:
        where: their name in errors.
        images: integers from 0 to 255 (N, H, W, C), (N, H, W) or (N, pixels).

    Raises:
        UserError: They have another type, range or shape.
    """
    if images.dtype != np.uint8:
        images = _as_bytes(where, images)
    if images.ndim == 2:
        return images.reshape(-1, *image_shape(where, images.shape[1]))
    if images.ndim == 3:
        return images[..., None]
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise UserError(f"{where} must have the shape (N, H, W) or (N, H, W, C) (got {images.shape})")
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise UserError(
            f"{where} must have the shape (N, H, W, C) (got {images.shape}, channels first); use "
            "images.transpose(0, 2, 3, 1)"
        )
    return images


def labels_of(where: str, labels: np.ndarray, count: int) -> np.ndarray:
    """The labels of an array as strings (N,).

    Args:
        where: their name in errors.
        labels: integers or strings, (N,) or (N, 1).
        count: the number of examples.

    Raises:
        UserError: They have another type, range or shape.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise UserError(
            f"{where} must have one label per example (got the shape {labels.shape}); of one-hot labels give "
            "labels.argmax(axis=1)"
        )
    if labels.shape != (count,):
        raise UserError(f"{where} must have {count:,} labels, one per image (got the shape {labels.shape})")
    if labels.dtype.kind not in "iufUSb" or (labels.dtype.kind == "f" and not (labels % 1 == 0).all()):
        raise UserError(f"{where} must be integers or strings (got {labels.dtype})")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    return labels.astype(str)


def name_classes(where: str, parts: Mapping[str, Part]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The names of the classes of all splits, and the labels of each, int32 (N,).

    Names that are numbers sort as numbers, others in natural order: class2 before class10.

    Raises:
        UserError: Labels are missing, or are not classes.
    """
    if known := next((part.class_names for part in parts.values() if part.class_names), None):
        return known, {split: _indices(f"{where} {split}", part, known) for split, part in parts.items()}
    for split, part in parts.items():
        if len(missing := np.flatnonzero(part.labels == "")):
            raise UserError(f"{where} {split}: row {missing[0] + 1} has no label; add it, or remove the row")
    together = np.concatenate([part.labels for part in parts.values()])
    values, inverse = np.unique(together, return_inverse=True)
    keys: list[str] = values.tolist()
    if all(map(_WHOLE_NUMBER.fullmatch, keys)):
        keys = [str(int(key.split(".")[0])) for key in keys]
    names = sorted(set(keys), key=lambda name: (in_natural_order(name), name))
    if len(names) < 2:
        raise UserError(f"{where} must have at least two classes (got {some(names) or 'none'}); add another")
    if len(names) == len(together):
        raise UserError(
            f"the labels of {where} must be classes (got another in each of {len(together):,} rows); is it "
            "the right column?"
        )
    index = {name: label for label, name in enumerate(names)}
    labels = np.array([index[key] for key in keys], np.int32)[inverse]
    ends = np.cumsum([len(part.labels) for part in parts.values()])
    return tuple(names), dict(zip(parts, np.split(labels, ends[:-1]), strict=True))


def _indices(where: str, part: Part, names: Sequence[str]) -> np.ndarray:
    """The labels of a table that has class names."""
    if part.class_names != names:
        raise UserError(
            f"{where} must have the classes of the other splits (got {some(part.class_names or ())})"
        )
    labels = part.labels.astype(np.int64)
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= len(names)))):
        raise UserError(
            f"{where}: the label in row {wrong[0] + 1} must be from 0 to {len(names) - 1}, one of its "
            f"classes (got {labels[wrong[0]]})"
        )
    return labels.astype(np.int32)


def _as_bytes(where: str, images: np.ndarray) -> np.ndarray:
    if images.dtype.kind not in "iu":
        remedy = f"; {ROUND}" if images.dtype.kind == "f" else ""
        raise UserError(f"{where} must be integers from 0 to 255 (got {images.dtype}){remedy}")
    if images.size and (images.min() < 0 or images.max() > 255):
        wrong = np.argwhere((images < 0) | (images > 255))[0]
        raise UserError(f"{where} must be from 0 to 255 (got {images[tuple(wrong)]} in row {wrong[0] + 1})")
    return images.astype(np.uint8)
