"""Feeds examples to the device: a whole split at once, or batch after batch from the host."""

import collections
import concurrent.futures
import functools
import math
import mmap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from mnist_jax.data.cache import Arrays
from mnist_jax.system import devices, distributed
from mnist_jax.system.mesh import place, replicated, split

Fed = TypeVar("Fed")  # `Rows`, or many of them
_AHEAD = 2  # chunks on their way to the device while one is computed


class Rows(NamedTuple):
    """Examples on their way to a step, in some shape (...), whose last axis is sharded over the mesh.

    images: uint8 (N, H, W, C), labels: int32 (N,) and indices: int32 (...) of their rows. With indices None,
    images and labels are the examples themselves, (..., H, W, C) and (...).
    """

    images: jax.Array
    labels: jax.Array
    indices: jax.Array | None

    def examples(self) -> tuple[jax.Array, jax.Array]:
        """Images and labels in the shape asked for; to be traced."""
        if self.indices is None:
            return self.images, self.labels
        return self.images[self.indices], self.labels[self.indices]


def make_feed(arrays: Arrays, placement: str, mesh: Mesh) -> Callable[[np.ndarray], Rows]:
    """A function from indices of any shape to `Rows`.

    placement: "device" keeps the whole split on each device as uint8; "host" sends the requested rows, each
    process those of its own devices. The results are the same. "auto" chooses the devices if the split fits
    and one process has them all.
    """
    if placement == "auto":
        fits = distributed.count() == 1 and devices.fits_on_device(arrays.images.nbytes)
        placement = "device" if fits else "host"
    if placement == "host":
        return functools.partial(_send, arrays, mesh, memory_map(arrays.images))
    images, labels = place(tuple(arrays), (replicated(mesh),) * 2)
    return lambda indices: Rows(images, labels, place(indices, split(mesh, indices.ndim - 1)))


def training_rows(
    feed: Callable[[np.ndarray], Fed],
    chunks: Iterable[tuple[int, int]],
    order: Callable[[int, int], np.ndarray],
) -> Iterator[tuple[int, Fed]]:
    """Yields the last step and the rows of each chunk (first step, S), prepared two chunks ahead.

    order: the indices of a chunk, (S, B) or, with an order for each of P models, (P, S, B); see
    `data.batch_indices`.
    """

    def rows(start: int, count: int) -> tuple[int, Fed]:
        return start + count, feed(order(start, count))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead: collections.deque[concurrent.futures.Future[tuple[int, Fed]]] = collections.deque()
        for chunk in chunks:
            ahead.append(pool.submit(rows, *chunk))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def memory_map(images: np.ndarray) -> tuple[mmap.mmap, int] | None:
    """The memory map that holds an array, and the byte where the array starts; None where there is none."""
    base: Any = images
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not images.flags.c_contiguous or not hasattr(base, "madvise"):
        return None
    return base, images.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data


def _read_ahead(within: tuple[mmap.mmap, int], nbytes: int, indices: np.ndarray) -> None:
    """Asks the operating system for rows of so many bytes all at once: else it reads them one by one."""
    pages, offset = within
    for first in (offset + nbytes * indices.ravel().astype(np.int64)).tolist():
        start = first // mmap.PAGESIZE * mmap.PAGESIZE
        pages.madvise(mmap.MADV_WILLNEED, start, first + nbytes - start)


def _send(arrays: Arrays, mesh: Mesh, within: tuple[mmap.mmap, int] | None, indices: np.ndarray) -> Rows:
    sharding, shape = split(mesh, indices.ndim - 1), arrays.images.shape[1:]

    def rows(part: Any) -> np.ndarray:
        return indices[part[: indices.ndim]]

    def images_of(part: Any) -> np.ndarray:
        chosen = rows(part)
        if within:
            _read_ahead(within, math.prod(shape), chosen)
        return arrays.images[chosen]

    make = jax.make_array_from_callback
    images = make((*indices.shape, *shape), sharding, images_of)
    labels = make(indices.shape, sharding, lambda part: arrays.labels[rows(part)])
    return Rows(images, labels, None)
