"""Tables as .npz: arrays of images and labels, of one split or of several.

images, labels     or x, y                       one split, named train
x_train, y_train, x_test, y_test                 as in Keras's MNIST
train_images, train_labels, val_images, ...      as in MedMNIST
"""

import pathlib
import zipfile
import zlib
from typing import IO

import numpy as np

from mnist_jax.data.sources import some
from mnist_jax.data.splits import ROLE_OF
from mnist_jax.data.table_parts import ROUND, Part, Unlabelled, images_of, labels_of, notes_on
from mnist_jax.system.errors import UserError, one_line

_IMAGES = frozenset({"images", "image", "x", "data"})
_LABELS = frozenset({"labels", "label", "y", "target", "targets"})
_MAX_RATIO = 200  # compression ratio above which an array is a decompression bomb
_SMALL = 2**26  # bytes of an array that may be compressed more


def read_npz(path: pathlib.Path) -> tuple[dict[str, Part], list[str]]:
    """The splits of a .npz file, and the names of arrays that are neither images nor labels.

    Raises:
        UserError: It is damaged, or lacks arrays of images and labels.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path} has larger arrays than fit into memory") from error
    # The readers of zip files and NumPy's headers raise exceptions of many kinds for damaged files.
    except Exception as error:
        raise UserError(f"{path} must be a .npz file as np.savez writes it: {one_line(error)}") from error


def _read(path: pathlib.Path, archive: zipfile.ZipFile) -> tuple[dict[str, Part], list[str]]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    found: dict[tuple[str, str], str] = {}
    unused = []
    for key in members:
        if (place := _place(key)) is None:
            unused.append(key)
        elif place in found:
            raise UserError(
                f"{path} must have one array of {place[0]} {place[1]} (got {found[place]} and {key})"
            )
        else:
            found[place] = key
    splits = sorted({split for split, what in found if what == "images"})
    if not splits:
        raise UserError(
            f"{path} must have arrays named images and labels, or x_train, y_train, x_test and y_test (got "
            f"{some(sorted(members)) or 'none'}); save them by np.savez(file, images=..., labels=...)"
        )
    parts = {}
    for split in splits:
        key = found[split, "images"]
        if (split, "labels") not in found:
            if any(what == "labels" for _, what in found):
                unused.append(key)
                continue
            raise Unlabelled(f"{path} must have labels beside {key}")
        label_key = found[split, "labels"]
        labels = _array(path, archive, members[label_key])
        stored = _array(path, archive, members[key], images=True)
        images = images_of(f"{key} of {path}", stored)
        notes = notes_on(f"{key} of {path}", images.shape[1:]) if stored.ndim == 2 else ()
        labels = labels_of(f"{label_key} of {path}", labels, len(images))
        parts[split] = Part(labels, images, notes=notes)
    return parts, unused


def _place(key: str) -> tuple[str, str] | None:
    """The split of an array, and whether it is images or labels; None for other arrays."""
    words = key.lower().split("_")
    splits, kinds = (
        [word for word in words if word in ROLE_OF],
        [word for word in words if word not in ROLE_OF],
    )
    if len(splits) > 1 or len(kinds) != 1 or kinds[0] not in _IMAGES | _LABELS:
        return None
    return (splits or ["train"])[0], "images" if kinds[0] in _IMAGES else "labels"


def _array(
    path: pathlib.Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, images: bool = False
) -> np.ndarray:
    """An array of the file. Its header is compared with the size of the file before memory is allocated."""
    where = f"{member.filename.removesuffix('.npy')} of {path}"
    if member.file_size > max(_SMALL, _MAX_RATIO * member.compress_size):
        raise UserError(
            f"{where} must hold images (got {member.file_size:,} bytes compressed to {member.compress_size:,}"
            ", too few for images)"
        )
    with archive.open(member) as file:
        shape, dtype, header = _header(file)
    if dtype.hasobject:
        raise UserError(f"{where} must be numbers or strings (got Python objects, which can run code)")
    declared = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    if declared != member.file_size - header:
        raise UserError(
            f"{where} is damaged: its header says {declared:,} bytes, it has {member.file_size - header:,}"
        )
    if images and dtype.kind == "f":
        raise UserError(f"{where} must be integers from 0 to 255 (got {dtype}); {ROUND}")
    with archive.open(member) as file:
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise UserError(f"{where} is damaged: {one_line(error)}") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and dtype of an array, and the size of its header in bytes."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype, file.tell()
