"""MNIST and the sets in its format, CIFAR-10 and CIFAR-100, prepared from their original files.

Each is the same set, example by example, as TFDS prepares with TensorFlow, which is not needed here. TFDS
sorts the examples of a split by a hash of their keys (tensorflow_datasets/core/shuffle.py), for these sets
their positions in the files, and cuts that order into shards, which it reads one after another; so the number
of shards does not matter.
"""

import gzip
import hashlib
import math
import pathlib
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.cache import Arrays, datasets_folder, load_or_build
from mnist_jax.decoding import decode_all
from mnist_jax.downloads import Remote, data_folder, fetch
from mnist_jax.errors import UserError
from mnist_jax.sources import Source

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


class _Set(NamedTuple):
    """lengths: of train and test. read: from the files and a split to its examples in their order there.

    class_names: empty where TFDS knows them without the files.
    """

    lengths: tuple[int, int]
    read: Callable[[Files, str], Arrays]
    class_names: tuple[str, ...] = ()


def canonical_set(config: ml_collections.FrozenConfigDict) -> Source | None:
    """The set that `config.name` (of `config.data`) names; None for a set that is for TFDS to read.

    That is every set but those of `SETS`, another version of these, and one that TFDS has prepared already.
    Original files are taken from `config.manual_dir` or downloaded. Decoded splits are kept.

    Raises:
      UserError: no network and files missing, files that are not the set's, a folder that cannot be written.
    """
    import tensorflow_datasets as tfds

    name, _, version = config.name.partition(":")
    name = "emnist/byclass" if name == "emnist" else name
    if name not in SETS:
        return None
    try:
        chosen, builder = SETS[name], tfds.builder(name, data_dir=data_folder(config))
    except Exception:  # of a damaged preparation, which `tfds_set` reports
        return None
    readable = builder.is_prepared() and builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    if readable or version not in ("", str(builder.version)):
        return None
    full_name = builder.info.full_name
    lengths = dict(zip(("train", "test"), chosen.lengths, strict=True))

    def read(split: str) -> tuple[Arrays, str]:
        made_from = hashlib.sha256(f"original files, {config.image_size}".encode()).hexdigest()[:16]
        folder = datasets_folder(config) / full_name / f"{split}-{made_from}"
        return load_or_build(folder, lambda folder: build(split, folder))

    def build(split: str, folder: pathlib.Path) -> None:
        files = [Remote(url, info.filename, info.checksum) for url, info in builder.url_infos.items()]
        manual_dir = pathlib.Path(config.manual_dir).expanduser() if config.manual_dir else None
        kept = fetch(full_name, files, manual_dir, data_folder(config) / "downloads" / name.split("/")[0])
        images, labels = chosen.read(kept, split)
        assert len(images) == len(labels) == lengths[split]
        order = tfds_order(split, len(labels))

        def examples(rows: range) -> Iterable[tuple[np.ndarray, int]]:
            taken = order[rows.start : rows.stop]
            return zip(images[taken], labels[taken], strict=True)

        decode_all(folder, len(labels), examples, config.image_size, f"{full_name} {split}")

    return Source(
        name=full_name,
        version=str(builder.version),
        class_names=chosen.class_names or tuple(builder.info.features["label"].names),
        lengths=lengths,
        read=read,
    )


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
    """The array of bytes in a file of MNIST's format: its sizes, then its values, row by row.

    http://yann.lecun.com/exdb/mnist
    """
    kind, dimensions = struct.unpack(">HBB", content[:4])[1:]
    if kind != 0x08:
        raise UserError(f"an IDX file must hold unsigned bytes, kind 8 (got kind {kind})")
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, math.prod(shape), 4 + 4 * dimensions).reshape(shape)


def _idx_arrays(images: bytes, labels: bytes) -> Arrays:
    return Arrays(_idx(gzip.decompress(images))[..., None], _idx(gzip.decompress(labels)).astype(np.int32))


def _mnist(files: Files, split: str) -> Arrays:
    part = {"train": "train", "test": "t10k"}[split]
    names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
    return _idx_arrays(*(files[name].read_bytes() for name in names))


def _emnist(variant: str) -> Callable[[Files, str], Arrays]:
    """The images lie on their side and mirrored, as in the files and in TFDS."""

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
      parts: split -> its files in the archive. names_in: the file of the class names, which `names` must be.
      label_bytes: before each image; the last is the label.
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
    return _Set((50_000, 10_000), read, names)


def _cifar100() -> _Set:
    folder, names = "cifar-100-binary", tuple(_CIFAR100_NAMES.split())
    parts = {split: [f"{folder}/{split}.bin"] for split in ("train", "test")}
    read = _cifar("cifar-100-binary.tar.gz", parts, f"{folder}/fine_label_names.txt", names, 2)
    return _Set((50_000, 10_000), read, names)


SETS: Mapping[str, _Set] = {
    "mnist": _Set((60_000, 10_000), _mnist),
    "fashion_mnist": _Set((60_000, 10_000), _mnist),
    "kmnist": _Set((60_000, 10_000), _mnist),
    "emnist/byclass": _Set((697_932, 116_323), _emnist("byclass")),
    "emnist/bymerge": _Set((697_932, 116_323), _emnist("bymerge")),
    "emnist/balanced": _Set((112_800, 18_800), _emnist("balanced")),
    "emnist/letters": _Set((88_800, 14_800), _emnist("letters")),
    "emnist/digits": _Set((240_000, 40_000), _emnist("digits")),
    "emnist/mnist": _Set((60_000, 10_000), _emnist("mnist")),
    "cifar10": _cifar10(),
    "cifar100": _cifar100(),
}
