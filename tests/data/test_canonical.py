"""Sets prepared from their original files, against TFDS's own preparation of the same files."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT

from configs import default
from mnist_jax import data
from mnist_jax.data import canonical
from mnist_jax.system.errors import UserError

LENGTHS = {"train": 70, "test": 30}
RNG = np.random.default_rng(0)


HUGE = b"\0\0\x08\x09" + 9 * b"\xff\xff\xff\xff"  # the head of an IDX file of 2 ** 288 bytes


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def digits_of(split: str, classes: int) -> tuple[bytes, bytes]:
    count = LENGTHS[split]
    images = RNG.integers(0, 256, (count, 28, 28), np.uint8)
    return idx(images), idx(RNG.integers(0, classes, count, np.uint8))


def mnist_files() -> dict[str, bytes]:
    files = {}
    for split, part in (("train", "train"), ("test", "t10k")):
        names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
        files |= dict(zip(names, digits_of(split, 10), strict=True))
    return files


def emnist_files() -> dict[str, bytes]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for split in LENGTHS:
            for kind, file in zip(("images-idx3", "labels-idx1"), digits_of(split, 27), strict=True):
                archive.writestr(f"gzip/emnist-letters-{split}-{kind}-ubyte.gz", file)
    return {"gzip.zip": content.getvalue()}


def cifar_archive(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def rows_of(count: int, *classes: int) -> bytes:
    labels = [RNG.integers(0, most, (count, 1), np.uint8) for most in classes]
    return np.hstack([*labels, RNG.integers(0, 256, (count, 3072), np.uint8)]).tobytes()


def cifar10_files() -> dict[str, bytes]:
    folder = "cifar-10-batches-bin"
    contents = {f"{folder}/data_batch_{k}.bin": rows_of(LENGTHS["train"] // 5, 10) for k in range(1, 6)}
    contents[f"{folder}/test_batch.bin"] = rows_of(LENGTHS["test"], 10)
    names = canonical.SETS["cifar10"].class_names
    contents[f"{folder}/batches.meta.txt"] = ("\n".join(names) + "\n\n").encode()
    return {"cifar-10-binary.tar.gz": cifar_archive(contents)}


def cifar100_files() -> dict[str, bytes]:
    folder = "cifar-100-binary"
    contents = {f"{folder}/{split}.bin": rows_of(count, 20, 100) for split, count in LENGTHS.items()}
    coarse = [f"coarse_{k}" for k in range(20)]
    for name, names in (("coarse", coarse), ("fine", canonical.SETS["cifar100"].class_names)):
        contents[f"{folder}/{name}_label_names.txt"] = ("\n".join(names) + "\n").encode()
    return {"cifar-100-binary.tar.gz": cifar_archive(contents)}


FILES = {
    "mnist": mnist_files,
    "fashion_mnist": mnist_files,
    "kmnist": mnist_files,
    "emnist/letters": emnist_files,
    "cifar10": cifar10_files,
    "cifar100": cifar100_files,
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes small original files of a set and the checksums that TFDS publishes; returns the config."""

    def make(name: str, **changes):
        files = FILES[name]()
        folder = tmp_path / "files"
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        kind = type(tfds.builder(name))
        infos = {
            url: info.__class__(
                size=tfds.core.utils.Size(len(files[info.filename])),
                checksum=hashlib.sha256(files[info.filename]).hexdigest(),
                filename=info.filename,
            )
            for url, info in kind.url_infos.items()
        }
        monkeypatch.setattr(kind, "url_infos", infos)
        shorter = canonical.SETS[name]._replace(lengths=tuple(LENGTHS.values()))
        monkeypatch.setattr(canonical, "SETS", {**canonical.SETS, name: shorter})
        config = default.get_config().data
        config.update(
            name=name, train="train[:60]", validation="train[60:]", test="test", manual_dir=str(folder),
            data_dir=str(tmp_path / "tfds"), cache_dir=str(tmp_path / "cache"), **changes,
        )  # fmt: skip
        return config

    return make


def load_by_tfds(config, monkeypatch) -> data.Dataset:
    """The same files prepared by TFDS into three shards; an existing preparation is preferred."""
    pytest.importorskip("tensorflow")
    from tensorflow_datasets.image_classification import mnist

    data_dir = pathlib.Path(config.data_dir)
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", LENGTHS["train"])
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", LENGTHS["test"])
    builder = tfds.builder(config.name, data_dir=data_dir, file_format="array_record")
    if hasattr(builder.builder_config, "train_examples"):
        monkeypatch.setattr(builder.builder_config, "train_examples", LENGTHS["train"])
        monkeypatch.setattr(builder.builder_config, "test_examples", LENGTHS["test"])
    builder.download_and_prepare(
        download_dir=data_dir / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=config.manual_dir, num_shards=3),
    )
    assert builder.info.splits["train"].num_shards == 3
    config.manual_dir, config.cache_dir = "", f"{config.cache_dir} of TFDS"
    assert canonical.canonical_set(config) is None
    return data.load(config)


@pytest.mark.whole
@pytest.mark.parametrize("name", FILES)
def test_it_is_the_set_that_tfds_prepares(made, monkeypatch, tmp_path, name):
    config = made(name)
    mine = data.load(config)
    assert not (tmp_path / "tfds").exists()
    theirs = load_by_tfds(config, monkeypatch)
    assert mine.fingerprint == theirs.fingerprint
    assert mine[:2] == theirs[:2]
    assert mine.class_names == theirs.class_names
    for split in ("train", "validation", "test"):
        for ours, other in zip(getattr(mine, split), getattr(theirs, split), strict=True):
            assert ours.dtype == other.dtype
            np.testing.assert_array_equal(ours, other)


@pytest.mark.whole
def test_fitted_images_are_those_of_tfds_too(made, monkeypatch):
    config = made("cifar10", image_size=20)
    mine = data.load(config)
    assert mine.image_shape == (20, 20, 3)
    assert mine.fingerprint == load_by_tfds(config, monkeypatch).fingerprint


def test_the_order_in_which_tfds_shuffles_more_than_it_holds_at_once(tmp_path, monkeypatch):
    """Through its buckets on disk, as for a set that is larger than its memory."""
    pytest.importorskip("tensorflow")
    from tensorflow_datasets.core import shuffle

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 100)
    shuffler = shuffle.Shuffler(dirpath=tmp_path, hash_salt="train", disable_shuffling=False)
    for key in range(500):
        shuffler.add(key, str(key).encode())
    assert [int(content) for _, content in shuffler] == canonical.tfds_order("train", 500).tolist()
    assert canonical.tfds_order("test", 500).tolist() != canonical.tfds_order("train", 500).tolist()


@pytest.mark.parametrize("name", sorted(canonical.SETS))
def test_each_set_is_as_tfds_has_it(name):
    builder, known = tfds.builder(name), canonical.SETS[name]
    label = builder.info.features["label"]
    assert known.version == str(builder.version)
    assert len(known.class_names) == label.num_classes
    if name.startswith("cifar"):  # TFDS reads the names from the archive, where they are in this order
        assert list(known.class_names) == sorted(set(known.class_names))
    else:
        assert known.class_names == tuple(label.names)
    assert builder.url_infos
    assert all(len(info.checksum) == 64 for info in builder.url_infos.values())
    if config := builder.builder_config:
        assert known.lengths == (config.train_examples, config.test_examples)


def test_the_plain_name_of_emnist_is_that_of_the_default_config():
    config = default.get_config().data
    config.name = "emnist"
    assert canonical.canonical_set(config).name == tfds.builder("emnist").info.full_name


@pytest.mark.parametrize("name", ["mnist:9.9.9", "emnist/nothing", "svhn_cropped", "mnist/large", "digits"])
def test_other_sets_and_versions_are_left_to_tfds(name):
    config = default.get_config().data
    config.name = name
    assert canonical.canonical_set(config) is None


def test_the_current_version_may_be_given(made):
    config = made("mnist")
    plain = data.load(config)
    config.name = f"mnist:{plain.version}"
    assert data.load(config).fingerprint == plain.fingerprint


@pytest.mark.parametrize("name", ["cifar100", "emnist/letters"])
def test_what_is_decoded_needs_neither_files_nor_tfds(made, tmp_path, monkeypatch, name):
    config = made(name)
    before = data.load(config).fingerprint
    shutil.rmtree(tmp_path / "files")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert data.load(config).fingerprint == before


def test_another_version_in_tfds_is_reported_before_anything_is_downloaded(made, monkeypatch):
    config = made("mnist")
    config.manual_dir = ""
    monkeypatch.setattr("requests.head", None)
    monkeypatch.setattr(tfds.builder_cls("mnist"), "VERSION", tfds.core.Version("9.0.0"))
    with pytest.raises(UserError, match=r"^tensorflow-datasets must have mnist 3.0.1 \(got 9.0.0\); [^\n]*$"):
        data.load(config)


def test_a_set_that_tfds_prepared_for_tensorflow_is_no_obstacle(made, tmp_path):
    config = made("mnist")
    version = str(tfds.builder("mnist").version)
    folder = tmp_path / "tfds" / "mnist" / version
    folder.mkdir(parents=True)
    info = {"name": "mnist", "version": version, "fileFormat": "tfrecord"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert len(data.load(config).test.labels) == LENGTHS["test"]


def test_a_damaged_preparation_is_reported(made, tmp_path):
    config = made("mnist")
    folder = tmp_path / "tfds" / "mnist" / str(tfds.builder("mnist").version)
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=r"^config.data.name is 'mnist': [^\n]*$"):
        data.load(config)


def test_files_that_are_not_the_sets_own_are_refused(made, tmp_path):
    config = made("mnist")
    (tmp_path / "files" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not MNIST")
    with pytest.raises(
        UserError, match=r"^.*t10k-labels-idx1-ubyte.gz is not the file .* sha256 must be [^\n]*$"
    ):
        data.load(config)


@pytest.mark.parametrize(
    ("name", "file", "change", "expected"),
    [
        ("mnist", "t10k-images-idx3-ubyte.gz", lambda whole: whole[:5000], "EOFError"),
        ("mnist", "t10k-images-idx3-ubyte.gz", lambda whole: gzip.compress(b"\0\0"), "error: "),
        ("mnist", "t10k-images-idx3-ubyte.gz", lambda whole: idx(np.zeros((9, 28, 28), "u1")), "hold 9 im"),
        ("mnist", "t10k-images-idx3-ubyte.gz", lambda whole: gzip.compress(HUGE), "0 bytes follow it"),
        ("mnist", "t10k-labels-idx1-ubyte.gz", lambda whole: b"not gzip", "BadGzipFile"),
        ("emnist/letters", "gzip.zip", lambda whole: whole[:9000], "BadZipFile"),
        ("cifar10", "cifar-10-binary.tar.gz", lambda whole: whole[:9000], "EOFError"),
        ("cifar10", "cifar-10-binary.tar.gz", lambda whole: cifar_archive({"a": b""}), "KeyError"),
    ],
)
def test_files_that_are_damaged_after_their_check_are_named(
    made, tmp_path, monkeypatch, name, file, change, expected
):
    config = made(name)
    checked = canonical.fetch

    def fetch(*arguments):
        found = checked(*arguments)
        found[file].write_bytes(change(found[file].read_bytes()))
        return found

    monkeypatch.setattr(canonical, "fetch", fetch)
    with pytest.raises(
        UserError, match=r"^test of .* cannot be read from the files in [^\n]*fetch them again$"
    ) as caught:
        data.load(config)
    assert expected in str(caught.value)
    assert str(tmp_path / "files") in str(caught.value)


AS_INSTALLED = """
import importlib.machinery, importlib.metadata, re, sys
locked = set(re.findall(r"^([a-z0-9-]+)==", open("requirements.lock").read(), re.MULTILINE))
providers = importlib.metadata.packages_distributions()
find = importlib.machinery.PathFinder.find_spec
def find_locked(name, path=None, target=None):
    given_by = providers.get(name.split(".")[0], ())
    known = {one.lower().replace("_", "-").replace(".", "-") for one in given_by}
    return None if known and not known & locked else find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_locked
from configs import default
from mnist_jax import data
config = default.get_config().data
config.manual_dir, config.data_dir, config.cache_dir = sys.argv[1:]
print(data.load(config).fingerprint)
assert importlib.util.find_spec("tensorflow") is None
"""


@pytest.mark.whole
def test_the_real_mnist_with_the_packages_of_the_lock_alone(real_mnist, tmp_path):
    """They contain neither TensorFlow nor packages that only the tests install."""
    done = subprocess.run(
        [sys.executable, "-c", AS_INSTALLED, real_mnist, tmp_path / "tfds", tmp_path / "cache"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1de52581")


@pytest.mark.whole
@pytest.mark.long  # its fingerprint is in the test above
def test_the_real_mnist_is_that_of_tfds(real_mnist, tmp_path, monkeypatch):
    """Its test split; 60,000 images more would take TFDS a quarter of a minute."""
    pytest.importorskip("tensorflow")
    builder = tfds.builder("mnist", data_dir=tmp_path / "tfds", file_format="array_record")
    generators = builder._split_generators
    monkeypatch.setattr(
        builder,
        "_split_generators",
        lambda manager: [one for one in generators(manager) if one.name == "test"],
    )
    builder.download_and_prepare(
        download_dir=tmp_path / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=real_mnist, num_shards=3),
    )
    config = default.get_config().data
    config.update(
        manual_dir=str(real_mnist), data_dir=str(tmp_path / "none"), cache_dir=str(tmp_path / "cache")
    )
    (images, labels), _ = canonical.canonical_set(config).read("test")
    theirs = list(builder.as_data_source("test"))
    np.testing.assert_array_equal(images, [example["image"] for example in theirs])
    np.testing.assert_array_equal(labels, [example["label"] for example in theirs])
