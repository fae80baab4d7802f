"""Where examples come from: TFDS by name, or the digits bundled with scikit-learn."""

import concurrent.futures
import contextlib
import difflib
import hashlib
import io
import os
import pathlib
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import filelock
import ml_collections
import numpy as np

from mnist_jax import devices
from mnist_jax.cache import Arrays, content_hash, load_or_build
from mnist_jax.console import tell
from mnist_jax.errors import UserError


class Source(NamedTuple):
    """A data set before its splits are chosen.

    name: with its version, such as "mnist/3.0.1". lengths: split name -> examples.
    read: split name -> its arrays and their sha256.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    lengths: Mapping[str, int]
    read: Callable[[str], tuple[Arrays, str]]


def open_source(config: ml_collections.FrozenConfigDict) -> Source:
    """The data set named by `config.name` (of `config.data`), prepared first where it was not yet.

    Raises UserError: no such set, no network for a download, a folder that cannot be written.
    """
    return _digits() if config.name == "digits" else _tfds(config)


def _digits() -> Source:
    """The 1,797 images of 8 x 8 pixels that ship with scikit-learn, in the order of their writers.

    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", https://doi.org/10.24432/C50P49.
    """
    import sklearn.datasets

    bunch = sklearn.datasets.load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    arrays = Arrays(images, bunch.target.astype(np.int32))
    return Source(
        name="digits/1.0.0",
        version="1.0.0",
        class_names=tuple(str(name) for name in bunch.target_names),
        lengths={"train": len(images)},
        read=lambda split: (arrays, content_hash(*arrays)),
    )


def _tfds(config: ml_collections.FrozenConfigDict) -> Source:
    """An image-classification set of TFDS, prepared as array_record, which needs no TensorFlow to read."""
    builder = _builder(config)
    if not builder.info.splits:  # it was not prepared when the builder looked
        _prepare(builder, config)
        builder = _builder(config)
    info = builder.info
    _, label_key = info.supervised_keys
    cache = pathlib.Path(os.path.expanduser(config.cache_dir or devices.user_cache_dir())) / "datasets"

    def read(split: str) -> tuple[Arrays, str]:
        try:
            files = [pathlib.Path(path).stat() for path in info.splits[split].filepaths]
            made_from = repr([config.image_size, *((file.st_size, file.st_mtime_ns) for file in files)])
            return load_or_build(
                cache / info.full_name / f"{split}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}",
                lambda folder: _decode(builder, split, config.image_size, folder),
            )
        except UserError:
            raise
        except Exception as error:  # the readers of record files and images each raise their own
            raise UserError(
                f"{split} of {info.full_name} cannot be read: {_last_sentence(error)}; remove "
                f"{builder.data_dir} and start again to prepare it anew"
            ) from error

    return Source(
        name=info.full_name,
        version=str(info.version),
        class_names=tuple(info.features[label_key].names),
        lengths={name: split.num_examples for name, split in info.splits.items()},
        read=read,
    )


def _builder(config: ml_collections.FrozenConfigDict) -> Any:
    """The TFDS builder of `config.data.name`.

    Raises UserError: TFDS has no such set or version, it is prepared in another format, or it is not one
    image and one label an example.
    """
    import tensorflow_datasets as tfds

    data_dir = config.data_dir and os.path.expanduser(config.data_dir)
    try:
        builder = tfds.builder(config.name, data_dir=data_dir or None, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError as error:
        near = difflib.get_close_matches(
            config.name, ["digits", *tfds.list_builders(with_community_datasets=False)], n=1
        )
        hint = f"did you mean {near[0]!r}?" if near else "see https://www.tensorflow.org/datasets/catalog"
        raise UserError(f"config.data.name is {config.name!r}, which TFDS does not have; {hint}") from error
    except Exception as error:  # TFDS raises whatever its parser or a community set meets
        raise UserError(f"config.data.name is {config.name!r}: {_reason(error, data_dir)}") from error
    features, keys = builder.info.features, tuple[str, ...](builder.info.supervised_keys or ())
    kinds = [type(features[key]) for key in keys if key in features]
    if kinds != [tfds.features.Image, tfds.features.ClassLabel] or features[keys[0]].np_dtype != np.uint8:
        raise UserError(
            f"config.data.name is {config.name!r}, which is not a set of uint8 images with one label each"
        )
    return builder


def _prepare(builder: Any, config: ml_collections.FrozenConfigDict) -> None:
    """Downloads a set, or takes its files from `config.data.manual_dir`, and writes it as array_record.

    Raises UserError: no network and files missing, files that are not the set's, a folder that cannot be
    written.
    """
    import tensorflow_datasets as tfds

    if builder.is_prepared():  # by another process since
        return
    manual_dir = config.manual_dir and pathlib.Path(os.path.expanduser(config.manual_dir)).resolve()
    _check_reachable(builder, manual_dir)
    folder = pathlib.Path(builder.data_dir)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / ".lock"):
            if builder.is_prepared():  # by the process that held the lock
                return
            if not sys.stderr.isatty():
                tfds.disable_progress_bar()
            tell(f"preparing {builder.info.full_name} in {folder}, once")
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own words, in several long lines
                builder.download_and_prepare(
                    download_config=tfds.download.DownloadConfig(manual_dir=manual_dir or None)
                )
    except tfds.download.util.DownloadError as error:
        raise UserError(f"{builder.name} could not be downloaded: {_last_sentence(error)}") from error
    except tfds.core.download.download_manager.NonMatchingChecksumError as error:
        raise UserError(
            f"a file of {builder.name} is not the one that TFDS expects (its sha256 differs): "
            f"{_last_sentence(error)}; fetch it again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{builder.name} could not be prepared in {folder}: {error.strerror or error}; mend that, or "
            "choose another place with --config.data.data_dir"
        ) from error


def _check_reachable(builder: Any, manual_dir: pathlib.Path | str) -> None:
    """Fails within seconds where a download would fail after minutes of retries."""
    urls = builder.url_infos or {}
    missing = [
        (url, info.filename)
        for url, info in urls.items()
        if not manual_dir or not (pathlib.Path(manual_dir) / info.filename).exists()
    ]
    if not missing or urllib.request.getproxies():  # a proxy resolves names itself
        return
    url, filename = missing[0]
    host = urllib.parse.urlsplit(url).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        where = f"{manual_dir} has no {filename} and " if manual_dir else ""
        raise UserError(
            f"{builder.name} is not prepared in {builder.data_dir}: {where}{host} cannot be reached to "
            "download it; connect, or put its files into a folder and name that by --config.data.manual_dir"
        ) from error


def _decode(builder: Any, split: str, image_size: int, folder: pathlib.Path) -> None:
    """Decodes a split once, in parallel, into images.npy and labels.npy.

    Raises UserError: images of different sizes, or labels that are no class.
    """
    from rich.console import Console
    from rich.progress import track

    image_key, label_key = builder.info.supervised_keys
    source = builder.as_data_source(split)
    shape = _fit(source[0][image_key], image_size).shape
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (len(source), *shape))
    labels = np.zeros(len(source), np.int32)

    def decode(rows: range) -> None:
        for row, example in zip(rows, source.__getitems__(rows), strict=True):
            image = _fit(example[image_key], image_size)
            if image.shape != shape:
                raise UserError(
                    f"the images of {builder.info.full_name} differ in size ({shape} and {image.shape}); "
                    "fit them to one by --config.data.image_size=PIXELS"
                )
            images[row], labels[row] = image, example[label_key]

    blocks = [range(start, min(start + 256, len(source))) for start in range(0, len(source), 256)]
    console = Console(stderr=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(decode, blocks)
        for _ in track(
            done,
            f"decoding {builder.info.full_name} {split}",
            total=len(blocks),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            pass
    classes = builder.info.features[label_key].num_classes
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"{split} of {builder.info.full_name} has labels from {labels.min()} to {labels.max()}, not of "
            f"its {classes} classes: it is not meant for evaluation; choose another split"
        )
    images.flush()
    np.save(folder / "labels.npy", labels)


def _fit(image: np.ndarray, size: int) -> np.ndarray:
    """The image scaled and cropped about its centre to `size` x `size` pixels; as it is for 0."""
    if size == 0 or image.shape[:2] == (size, size):
        return image
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(Image.fromarray(image.squeeze()), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted).reshape(size, size, image.shape[2])


def _reason(error: Exception, data_dir: str) -> str:
    """Why TFDS has no builder, in a line."""
    message = str(error)
    if "File format is already set" in message:
        return (
            f"it is prepared in {data_dir or '~/tensorflow_datasets'} in a format that needs TensorFlow to "
            "read; choose another place with --config.data.data_dir"
        )
    if "Parsing builder name string" in message:
        return "not a name of TFDS, such as mnist, mnist:3.0.1 or cifar10"
    return f"{type(error).__name__}: {_last_sentence(error)}"


def _last_sentence(error: Exception) -> str:
    """TFDS puts its reason at the end of a long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rsplit('}": ', 1)[-1] if lines else type(error).__name__
