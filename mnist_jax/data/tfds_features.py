"""The features of a TensorFlow Datasets set: which may be loaded, and which are image and label."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_jax.system.errors import UserError


@contextlib.contextmanager
def only_features_of_tfds() -> Iterator[None]:
    """Refuses to import the classes that the features.json of a set names, except those of TFDS.

    TFDS would import any module named there, and so run code that comes with a data set. It asks this
    function for each class, also for nested features, in each form and location of the file.
    """
    from tensorflow_datasets.core.features.feature import FeatureConnector

    find, unchecked = FeatureConnector.cls_from_name, FeatureConnector.__dict__["cls_from_name"]

    def checked(name: str) -> Any:
        if not re.fullmatch(r"tensorflow_datasets\.core\.features(\.\w+)+", name, re.ASCII):
            raise UserError(
                f"features.json of a data set must name features of tensorflow_datasets only (got {name!a}): "
                "code that comes with data is not run; give another config.data.name or data_dir"
            )
        return find(name)

    FeatureConnector.cls_from_name = staticmethod(checked)
    try:
        yield
    finally:
        FeatureConnector.cls_from_name = unchecked


def image_and_label(info: Any) -> tuple[str, str]:
    """The names of image and label in an example: as the set declares, or the only ones of their type.

    Raises UserError: there are none or several, or the images are not uint8.
    """
    import tensorflow_datasets as tfds

    features, named = info.features, tuple[str, ...](info.supervised_keys or ())
    types = {name: type(one) for name, one in features.items()} if hasattr(features, "items") else {}
    image = _name_of(types, tfds.features.Image, named[:1])
    label = _name_of(types, tfds.features.ClassLabel, named[1:2])
    if image is None or label is None:
        found = ", ".join(f"{name} ({kind.__name__})" for name, kind in sorted(types.items()))
        raise UserError(
            f"{info.full_name} must have one Image and one ClassLabel, or supervised_keys that name "
            f"them (got {found}); choose another config.data.name"
        )
    if features[image].np_dtype != np.uint8:
        raise UserError(
            f"the images of {info.full_name} must be uint8 (got {image} of "
            f"{np.dtype(features[image].np_dtype)}); choose another config.data.name"
        )
    return image, label


def _name_of(types: Mapping[str, type], kind: type, preferred: Sequence[str]) -> str | None:
    """The feature of a type: the preferred one, or the only one."""
    names = [name for name, one in types.items() if one is kind]
    chosen = [name for name in names if name in preferred] or names
    return chosen[0] if len(chosen) == 1 else None
