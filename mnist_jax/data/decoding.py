"""Examples of any source decoded once, in parallel, into arrays of one shape."""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable

import ml_collections
import numpy as np
from PIL import Image, ImageOps

from mnist_jax.system.errors import UserError

_BLOCK = 256  # examples per task of a thread

Read = Callable[[range], Iterable[tuple[np.ndarray | None, int]]]


def decode_all(
    folder: pathlib.Path, count: int, read: Read, config: ml_collections.FrozenConfigDict, title: str
) -> np.ndarray:
    """Writes images.npy and labels.npy for `cache.load_or_build`, and returns the labels, int32 (N,).

    read: returns image, uint8 (H, W, C), and label of each example of a range; an image that is None stays
    black.
    config: `config.data`, with `image_size` and `fit`. title: for messages, such as "mnist/3.0.1 train".
    Raises UserError: the images differ in size.
    """
    from rich.console import Console
    from rich.progress import track

    one_by_one = (image for row in range(count) for image, _ in read(range(row, row + 1)))
    first = next((image for image in one_by_one if image is not None), np.zeros((1, 1, 1), np.uint8))
    shape = fit_square(first, config.image_size, config.fit).shape
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, *shape))
    labels = np.zeros(count, np.int32)

    def decode(rows: range) -> None:
        for row, (image, label) in zip(rows, read(rows), strict=True):
            labels[row] = label
            if image is None:
                continue
            fitted = fit_square(image, config.image_size, config.fit)
            if fitted.shape != shape:
                raise UserError(
                    f"the images of {title} differ in size ({shape} and {fitted.shape}); fit them to one by "
                    "--config.data.image_size=PIXELS"
                )
            images[row] = fitted

    blocks = [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    console = Console(stderr=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(decode, blocks)
        shown = console.is_terminal
        for _ in track(
            done, f"decoding {title}", len(blocks), console=console, transient=True, disable=not shown
        ):
            pass
    images.flush()
    np.save(folder / "labels.npy", labels)
    return labels


def fit_square(image: np.ndarray, size: int, fit: str) -> np.ndarray:
    """An image, uint8 (H, W, C), with `size` x `size` pixels.

    size: 0 leaves it as it is. fit: see `fit_to`.
    """
    if size == 0 or image.shape[:2] == (size, size):
        return image
    plain = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return np.asarray(fit_to(plain, (size, size), fit)).reshape(size, size, image.shape[2])


def fit_to(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    """A grey or RGB image scaled to a width and height.

    fit: "pad" adds a border of the mean colour of the image's edge, so that nothing is lost; "crop" takes the
    middle; "stretch" changes the shape.
    """
    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if fit == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = edge.mean(axis=0, dtype=np.float64).round().astype(int)
    border = int(colour) if pixels.ndim == 2 else tuple(colour.tolist())
    return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=border)
