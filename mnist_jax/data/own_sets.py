"""Data sets that users register: functions that return arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, content_hash
from mnist_jax.data.sources import Source
from mnist_jax.system.errors import UserError, one_line

OwnSplits = Mapping[str, tuple[np.ndarray, np.ndarray]]
OwnLoad = Callable[[ml_collections.FrozenConfigDict], OwnSplits | tuple[np.ndarray, np.ndarray]]


def own_set(
    name: str, load: OwnLoad, class_names: Sequence[str] | None, config: ml_collections.FrozenConfigDict
) -> Source:
    """The checked result of a registered function.

    Raises:
      UserError: it raises, or returns something other than `dataset.register_data` says.
    """
    try:
        found: Any = load(config)
    except UserError:
        raise
    except Exception as error:  # the user's code can raise anything
        raise UserError(f"the data set {name!r} cannot be loaded: {one_line(error)}") from error
    splits = found if isinstance(found, Mapping) else {"train": found}
    arrays = {str(split): _arrays(f"{name} {split}", given) for split, given in splits.items()}
    shapes = {one.images.shape[1:] for one in arrays.values()}
    if len(shapes) != 1:
        raise UserError(f"the data set {name!r} must have images of one shape (got {sorted(shapes)})")
    classes = 1 + max(int(one.labels.max()) for one in arrays.values())
    names = tuple(map(str, class_names if class_names is not None else range(classes)))
    if len(names) < classes:
        raise UserError(
            f"the data set {name!r} must have {classes} class names, one per label (got {len(names)})"
        )
    return Source(
        name=name,
        version="",
        class_names=names,
        lengths={split: len(one.labels) for split, one in arrays.items()},
        read=lambda split: (arrays[split], content_hash(*arrays[split])),
    )


def _arrays(name: str, given: Any) -> Arrays:
    """Images and labels as a run uses them."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(f"the data set {name!r} must be images and labels (got {type(given).__name__})")
    images, labels = np.asarray(given[0]), np.asarray(given[1])
    if images.dtype != np.uint8:
        raise UserError(
            f"the images of {name!r} must be uint8, from 0 to 255 (got {images.dtype}); a run normalizes them"
        )
    if images.ndim not in (3, 4):
        raise UserError(
            f"the images of {name!r} must have shape (N, H, W) or (N, H, W, C) (got {images.shape})"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"the labels of {name!r} must be {len(images)} integers (got {labels.dtype} {labels.shape})"
        )
    if len(labels) == 0 or labels.min() < 0:
        raise UserError(f"the labels of {name!r} must be integers from 0, at least one of them")
    return Arrays(images if images.ndim == 4 else images[..., None], labels.astype(np.int32))
