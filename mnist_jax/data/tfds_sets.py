"""TensorFlow Datasets sets, prepared once with TensorFlow and read without it."""

import contextlib
import difflib
import hashlib
import importlib.util
import io
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import filelock
import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, datasets_folder, load_or_build, stamp
from mnist_jax.data.decoding import decode_all
from mnist_jax.data.downloads import check_reachable, manual_folder
from mnist_jax.data.sources import Source
from mnist_jax.data.tfds_features import image_and_label, only_features_of_tfds
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path
from mnist_jax.system.terminal import tell


def tfds_set(config: ml_collections.FrozenConfigDict) -> Source:
    """The image-classification set named by `config.name` (of `config.data`), prepared if needed.

    It is stored as array_record, which is readable without TensorFlow.
    Raises UserError: no such set, no network for a download, a folder that cannot be written.
    """
    builder = _builder(config)
    if not builder.info.splits:  # it was not prepared when the builder was made
        _prepare(builder, config)
        builder = _builder(config)
    info = builder.info
    _, label_key = image_and_label(info)
    cache = datasets_folder(config)

    def read(split: str) -> tuple[Arrays, str]:
        try:
            made_from = repr([config.image_size, config.fit, *map(stamp, info.splits[split].filepaths)])
            return load_or_build(
                cache / info.full_name / f"{split}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}",
                lambda folder: _decode(builder, split, config, folder),
            )
        except UserError:
            raise
        except Exception as error:  # readers of record files and images raise exceptions of many kinds
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

    Raises UserError: TFDS has no such set or version, it is prepared in another format, its files name code,
    or its examples are not one image and one label each.
    """
    import tensorflow_datasets as tfds

    data_dir = config.data_dir and str(user_path(config.data_dir))
    try:
        if namespace := tfds.core.naming.parse_builder_name_kwargs(config.name)[0].namespace:
            raise UserError(
                f"config.data.name must be a set of TFDS or one in data_dir (got {config.name!r}); those of "
                f"{namespace} bring code of their own: prepare it in config.data.data_dir as array_record"
            )
        with only_features_of_tfds():
            builder = tfds.builder(config.name, data_dir=data_dir or None, file_format="array_record")
    except UserError:
        raise
    except tfds.core.registered.DatasetNotFoundError as error:
        near = difflib.get_close_matches(
            config.name, ["digits", *tfds.list_builders(with_community_datasets=False)], n=1
        )
        hint = f"did you mean {near[0]!r}?" if near else "see https://www.tensorflow.org/datasets/catalog;"
        raise UserError(
            f"config.data.name must be a set of TFDS, digits, folder or table (got {config.name!r}); {hint} "
            "a set of your own needs --import=MODULE, the module that registers it"
        ) from error
    except Exception as error:  # TFDS's parser and community sets raise exceptions of many kinds
        raise UserError(
            f"config.data.name is {config.name!r}: {_reason(error, config.name, data_dir)}"
        ) from error
    image_and_label(builder.info)
    return builder


def _prepare(builder: Any, config: ml_collections.FrozenConfigDict) -> None:
    """Downloads a set, or takes its files from `config.data.manual_dir`, and writes it as array_record.

    Raises UserError: no network and files missing, files that are not the set's, a folder that cannot be
    written.
    """
    import tensorflow_datasets as tfds

    if builder.is_prepared():  # by another process meanwhile
        return
    _require_tensorflow(builder.info.full_name)
    manual_dir = manual_folder(config)
    urls = {info.filename: url for url, info in (builder.url_infos or {}).items()}
    check_reachable(builder.name, urls, manual_dir)
    folder = pathlib.Path(builder.data_dir)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / ".lock"):
            if builder.is_prepared():  # by the process that had the lock
                return
            if not sys.stderr.isatty():
                tfds.disable_progress_bar()
            tell(f"preparing {builder.info.full_name} in {folder}, once")
            # In a folder of our own, so that the remains of a killed process can be removed.
            staging = folder.parent / ".preparing"
            shutil.rmtree(staging, ignore_errors=True)
            staged = tfds.builder(config.name, data_dir=staging, file_format="array_record")
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints several long lines
                staged.download_and_prepare(
                    download_dir=str(folder).removesuffix(builder.info.full_name) + "downloads",
                    download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
                )
            os.replace(staged.data_dir, folder)
            shutil.rmtree(staging, ignore_errors=True)
    except tfds.download.util.DownloadError as error:
        raise UserError(f"{builder.name} could not be downloaded: {_last_sentence(error)}") from error
    except tfds.core.download.download_manager.NonMatchingChecksumError as error:
        raise UserError(
            f"a file of {builder.name} is not the one that TFDS expects (its sha256 differs): "
            f"{_last_sentence(error)}; fetch it again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{builder.name} could not be prepared in {folder}: {error.strerror or error}; correct that, or "
            "choose another folder with --config.data.data_dir"
        ) from error


def _require_tensorflow(name: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{name} is not prepared yet, and TFDS prepares it with TensorFlow: pip install '.[tfds]', and "
            "run the same command again"
        )


def _decode(builder: Any, split: str, config: Any, folder: pathlib.Path) -> None:
    """Decodes a split once into a folder of the cache.

    Raises UserError: images of different sizes, or labels that are not a class. ValueError: fewer or more
    examples than the set declares.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    image_key, label_key = image_and_label(builder.info)
    source = builder.as_data_source(split)
    held = sum(ArrayRecordReader(str(path)).num_records() for path in builder.info.splits[split].filepaths)
    if held != len(source):
        raise ValueError(f"its files hold {held:,} examples, its dataset_info.json says {len(source):,}")

    def read(rows: range) -> Iterator[tuple[np.ndarray, int]]:
        return ((example[image_key], example[label_key]) for example in source.__getitems__(rows))

    labels = decode_all(folder, len(source), read, config, f"{builder.info.full_name} {split}")
    classes = builder.info.features[label_key].num_classes
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"{split} of {builder.info.full_name} has labels from {labels.min()} to {labels.max()}, not of "
            f"its {classes} classes: it is not meant for evaluation; choose another split"
        )


def _reason(error: Exception, name: str, data_dir: str) -> str:
    """Why TFDS has no builder, in one line."""
    message = str(error)
    if "File format is already set" in message or "does not match the file formats" in message:
        folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        return (
            f"it is prepared in {folder} in a format that needs TensorFlow to read; convert it by `pip "
            "install apache-beam mlcroissant && tfds convert_format --out_file_format=array_record "
            f"--dataset_dir={folder}/{re.split('[/:]', name)[0]}`, or choose another --config.data.data_dir"
        )
    if "Parsing builder name string" in message:
        return "not a name of TFDS, such as mnist, mnist:3.0.1 or cifar10"
    if re.search("BuilderConfig .* not found", message):
        return f"no such config; {_config_hint(name)}"
    return f"{type(error).__name__}: {_last_sentence(error)}"


def _config_hint(name: str) -> str:
    import tensorflow_datasets as tfds

    given = name.partition(":")[0]
    builder = given.partition("/")[0]
    configs = tfds.builder_cls(builder).BUILDER_CONFIGS
    names = [f"{builder}/{config.name}" for config in configs] or [builder]
    near = difflib.get_close_matches(given, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"TFDS has {', '.join(names)}"


def _last_sentence(error: Exception) -> str:
    """TFDS puts its reason at the end of a long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rsplit('}": ', 1)[-1] if lines else type(error).__name__
