"""MNIST and the sets in its format, CIFAR-10 and CIFAR-100, prepared from their original files.

Each equals the set that TFDS prepares, example by example, without needing TensorFlow. TFDS sorts the
examples of a split by a hash of their keys (tensorflow_datasets/core/shuffle.py), which for these sets are
their positions in the files, and cuts that order into shards. It reads the shards one after another, so their
number does not matter.
"""

import gzip
import hashlib
import json
import math
import pathlib
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, datasets_folder, load_or_build
from mnist_jax.data.decoding import decode_all
from mnist_jax.data.downloads import Remote, data_folder, fetch, manual_folder
from mnist_jax.data.sources import Source
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular

Files = Mapping[str, pathlib.Path]

_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_KMNIST_NAMES = "o ki su tsu na ha ma ya re wo"
_FASHION_NAMES = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
# Raised by the readers for truncated or damaged files.
_DAMAGE = (
    OSError, EOFError, ValueError, KeyError, struct.error, zlib.error, tarfile.TarError, zipfile.BadZipFile,
)  # fmt: skip


class _Set(NamedTuple):
    """version, class_names: as in TFDS. lengths: of train and test.

    read: from the files and a split to its examples, in the order of the files.
    """

    version: str
    lengths: tuple[int, int]
    class_names: tuple[str, ...]
    read: Callable[[Files, str], Arrays]

    @property
    def splits(self) -> dict[str, int]:
        return dict(zip(("train", "test"), self.lengths, strict=True))


def canonical_set(config: ml_collections.FrozenConfigDict) -> Source | None:
    """The set that `config.name` (of `config.data`) names; None for a set that TFDS must read.

    TFDS reads every set that is not in `SETS`, other versions of these, and sets that it has prepared.
    Original files come from `config.manual_dir` or a download. Decoded splits are cached and read again
    without these files and without importing TFDS.

    Raises:
      UserError: no network and files missing, files that are not the set's, a folder that cannot be written.
    """
    name, _, version = config.name.partition(":")
    name = "emnist/byclass" if name == "emnist" else name
    if name not in SETS or version not in ("", SETS[name].version):
        return None
    chosen = SETS[name]
    full_name = f"{name}/{chosen.version}"
    if _prepared_by_tfds(data_folder(config) / full_name):
        return None

    def read(split: str) -> tuple[Arrays, str]:
        made_from = f"original files, {config.image_size} {config.fit}"
        folder = (
            datasets_folder(config)
            / full_name
            / f"{split}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
        )
        return load_or_build(folder, lambda folder: build(split, folder))

    def build(split: str, folder: pathlib.Path) -> None:
        builder_name = name.split("/")[0]
        published = _published(builder_name, chosen.version)
        downloads = data_folder(config) / "downloads" / builder_name
        files = fetch(full_name, published, manual_folder(config), downloads)
        images, labels = _read(chosen, files, split, f"{split} of {full_name}")
        order = tfds_order(split, len(labels))

        def examples(rows: range) -> Iterable[tuple[np.ndarray, int]]:
            taken = order[rows.start : rows.stop]
            return zip(images[taken], labels[taken], strict=True)

        decode_all(folder, len(labels), examples, config, f"{full_name} {split}")

    return Source(full_name, chosen.version, chosen.class_names, chosen.splits, read)


def _prepared_by_tfds(folder: pathlib.Path) -> bool:
    """Whether TFDS has prepared a set there that is readable without TensorFlow, or left a damaged record."""
    try:
        return json.loads(read_regular(folder / "dataset_info.json")).get("fileFormat") == "array_record"
    except OSError:
        return False
    except (ValueError, AttributeError):
        return True  # `tfds_set` reports it


def _published(builder_name: str, version: str) -> list[Remote]:
    """The original files of a set, as TFDS publishes them.

    Raises:
      UserError: the installed TFDS has another version of the set.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_cls(builder_name)
    if str(builder.VERSION) != version:
        raise UserError(
            f"tensorflow-datasets must have {builder_name} {version} (got {builder.VERSION}); install "
            "the release that requirements.lock names"
        )
    return [Remote(url, info.filename, info.checksum) for url, info in builder.url_infos.items()]


def _read(chosen: _Set, files: Files, split: str, title: str) -> Arrays:
    """The examples of a split in the order of the files.

    Raises:
      UserError: the files cannot be read, or hold something else.
    """
    try:
        images, labels = chosen.read(files, split)
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        count = chosen.splits[split]
        if len(images) == len(labels) == count:
            return Arrays(images, labels)
        reason = f"they hold {len(images):,} images and {len(labels):,} labels, not {count:,}"
    folders = " and ".join(sorted({str(path.parent) for path in files.values()}))
    raise UserError(f"{title} cannot be read from the files in {folders}: {reason}; fetch them again")


def tfds_order(split: str, count: int) -> np.ndarray:
    """The positions of the examples of a split in the order that TFDS gives them, int64 (N,).

    Args:
      split: its name, with which TFDS salts the hash.
      count: N; the keys of the examples are their positions.
    """
    from tensorflow_datasets.core import hashing

    hasher = hashing.Hasher(split)
    return np.array(sorted(range(count), key=hasher.hash_key), np.int64)


def _idx(content: bytes) -> np.ndarray:
    """The array of bytes in an IDX file, MNIST's format: the sizes, then the values, row by row.

    http://yann.lecun.com/exdb/mnist
    """
    kind, dimensions = struct.unpack(">HBB", content[:4])[1:]
    if kind != 0x08:
        raise UserError(f"an IDX file must hold unsigned bytes, kind 8 (got kind {kind})")
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if math.prod(shape) != len(content) - start:
        raise ValueError(f"its header says {shape}, and {len(content) - start:,} bytes follow it")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _idx_arrays(images: bytes, labels: bytes) -> Arrays:
    return Arrays(_idx(gzip.decompress(images))[..., None], _idx(gzip.decompress(labels)).astype(np.int32))


def _mnist(files: Files, split: str) -> Arrays:
    part = {"train": "train", "test": "t10k"}[split]
    names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
    return _idx_arrays(*(files[name].read_bytes() for name in names))


def _emnist(variant: str) -> Callable[[Files, str], Arrays]:
    """The images are transposed, as in the files and in TFDS."""

    def read(files: Files, split: str) -> Arrays:
        names = (f"gzip/emnist-{variant}-{split}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
        with zipfile.ZipFile(files["gzip.zip"]) as archive:
            return _idx_arrays(*map(archive.read, names))

    return read


def _cifar(
    archive: str, parts: Mapping[str, Iterable[str]], names_in: str, names: tuple[str, ...], label_bytes: int
) -> Callable[[Files, str], Arrays]:
    """CIFAR's binary version, https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
      parts: split -> its files in the archive. names_in: the file of class names, which must equal `names`.
      label_bytes: bytes before each image; the last is the label.
    """

    def members(path: pathlib.Path, wanted: Iterable[str]) -> Iterator[bytes]:
        with tarfile.open(path) as opened:
            for name in wanted:
                member = opened.extractfile(name)
                assert member is not None
                yield member.read()

    def read(files: Files, split: str) -> Arrays:
        written, *contents = members(files[archive], (names_in, *parts[split]))
        if tuple(written.decode().split()) != names:
            raise UserError(f"{files[archive]} has other classes than this program knows")
        table = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, label_bytes + 3 * 32 * 32)
        images = table[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return Arrays(images, table[:, label_bytes - 1].astype(np.int32))

    return read


def _cifar10() -> _Set:
    folder, names = "cifar-10-batches-bin", tuple(_CIFAR10_NAMES.split())
    parts = {
        "train": [f"{folder}/data_batch_{number}.bin" for number in range(1, 6)],
        "test": [f"{folder}/test_batch.bin"],
    }
    read = _cifar("cifar-10-binary.tar.gz", parts, f"{folder}/batches.meta.txt", names, 1)
    return _Set("3.0.2", (50_000, 10_000), names, read)


def _cifar100() -> _Set:
    folder, names = "cifar-100-binary", tuple(_CIFAR100_NAMES.split())
    parts = {split: [f"{folder}/{split}.bin"] for split in ("train", "test")}
    read = _cifar("cifar-100-binary.tar.gz", parts, f"{folder}/fine_label_names.txt", names, 2)
    return _Set("3.0.2", (50_000, 10_000), names, read)


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))


SETS: Mapping[str, _Set] = {
    "mnist": _Set("3.0.1", (60_000, 10_000), _numbered(10), _mnist),
    "fashion_mnist": _Set("3.0.1", (60_000, 10_000), tuple(_FASHION_NAMES.split(", ")), _mnist),
    "kmnist": _Set("3.0.1", (60_000, 10_000), tuple(_KMNIST_NAMES.split()), _mnist),
    "emnist/byclass": _Set("3.1.0", (697_932, 116_323), _numbered(62), _emnist("byclass")),
    "emnist/bymerge": _Set("3.1.0", (697_932, 116_323), _numbered(47), _emnist("bymerge")),
    "emnist/balanced": _Set("3.1.0", (112_800, 18_800), _numbered(47), _emnist("balanced")),
    "emnist/letters": _Set("3.1.0", (88_800, 14_800), _numbered(37), _emnist("letters")),
    "emnist/digits": _Set("3.1.0", (240_000, 40_000), _numbered(10), _emnist("digits")),
    "emnist/mnist": _Set("3.1.0", (60_000, 10_000), _numbered(10), _emnist("mnist")),
    "cifar10": _cifar10(),
    "cifar100": _cifar100(),
}
