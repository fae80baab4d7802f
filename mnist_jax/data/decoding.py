"""Examples of any source decoded once, in parallel, into arrays of one shape."""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageOps

from mnist_jax.system.errors import UserError

_BLOCK = 256  # examples that a thread decodes at once

Read = Callable[[range], Iterable[tuple[np.ndarray | None, int]]]


def decode_all(folder: pathlib.Path, count: int, read: Read, image_size: int, title: str) -> np.ndarray:
    """Writes images.npy and labels.npy for `cache.load_or_build`, and returns the labels, int32 (N,).

    read: gives image, uint8 (H, W, C), and label of each example of a range; where an image is None, it stays
    black.
    image_size: see `fit`. title: what is decoded, such as "mnist/3.0.1 train".
    Raises UserError: the images differ in size.
    """
    from rich.console import Console
    from rich.progress import track

    one_by_one = (image for row in range(count) for image, _ in read(range(row, row + 1)))
    first = next((image for image in one_by_one if image is not None), np.zeros((1, 1, 1), np.uint8))
    shape = fit_square(first, image_size).shape
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, *shape))
    labels = np.zeros(count, np.int32)

    def decode(rows: range) -> None:
        for row, (image, label) in zip(rows, read(rows), strict=True):
            labels[row] = label
            if image is None:
                continue
            fitted = fit_square(image, image_size)
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


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """An image, uint8 (H, W, C), scaled and cropped about its centre to `size` x `size` pixels.

    size: 0 leaves it as it is.
    """
    if size == 0 or image.shape[:2] == (size, size):
        return image
    plain = image[..., 0] if image.shape[2] == 1 else image
    fitted = ImageOps.fit(Image.fromarray(plain), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted).reshape(size, size, image.shape[2])
