"""The predictions of a model on a split, and their file."""

import io
import pathlib
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular, write_whole

_NAMES = ("step", "labels", "log_probabilities")  # of the arrays in a file
_MOST_CLASSES = 4096  # the confusion matrix then takes 128 MiB


class Predictions(NamedTuple):
    """Predictions of every example of a split, once, in order.

    labels: int32 (N,). log_probabilities: float32 (N, K). confusion: int64 (K, K), rows true classes, columns
    predicted. The predicted class is the most probable one, the first of equals.
    """

    labels: np.ndarray
    log_probabilities: np.ndarray
    confusion: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The predicted classes, int64 (N,)."""
        return self.log_probabilities.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """float64 (N, K)."""
        return np.exp(self.log_probabilities.astype(np.float64))


def predictions_of(log_probabilities: np.ndarray, labels: np.ndarray) -> Predictions:
    """Predictions with their confusion matrix, from (N, K) and (N,)."""
    classes = log_probabilities.shape[1]
    cells = labels.astype(np.int64) * classes + log_probabilities.argmax(axis=1)
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    return Predictions(labels, log_probabilities, confusion)


def ensemble(predictions: Sequence[Predictions]) -> Predictions:
    """The mean of the probabilities of several models on the same examples."""
    stacked = np.stack([one.log_probabilities for one in predictions]).astype(np.float64)
    mean = np.logaddexp.reduce(stacked, axis=0) - np.log(len(stacked))
    return predictions_of(mean.astype(np.float32), predictions[0].labels)


def save_predictions(
    path: pathlib.Path, predictions: Predictions, step: int, class_names: Sequence[str]
) -> None:
    """Writes the file atomically.

    Args:
        path: of the file.
        predictions: become `labels`, `log_probabilities` and `confusion`.
        step: of the checkpoint.
        class_names: by label, (K,); other programs need them to read the file.
    """
    file = io.BytesIO()
    np.savez(
        file,
        step=step,
        **predictions._asdict(),
        class_names=np.array(class_names, np.str_),
    )
    write_whole(path, file.getvalue())


def load_predictions(path: pathlib.Path) -> tuple[int, Predictions]:
    """The step of the checkpoint, and what it said.

    Raises UserError: the file is not there, or damaged.
    """
    try:
        content = read_regular(path)
        _require_stored(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            step, labels, log_probabilities = (arrays[name] for name in _NAMES)
        _require_predictions(labels, log_probabilities)
        return int(step), predictions_of(log_probabilities, labels)
    except Exception as error:  # numpy and zipfile raise whatever a damaged file leads them to
        raise UserError(f"{path} cannot be read: {error}") from error


def _require_stored(content: bytes) -> None:
    """Raises ValueError where arrays are compressed, or said to be larger than the file that has them."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        for entry in packed.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(content):
                raise ValueError(f"{entry.filename} must be stored as it is, not compressed")


def _require_predictions(labels: np.ndarray, log_probabilities: np.ndarray) -> None:
    """Raises ValueError where arrays are no predictions, or of more classes than a matrix has memory for."""
    examples, classes = log_probabilities.shape
    if labels.shape != (examples,) or not examples or not 1 <= classes <= _MOST_CLASSES:
        raise ValueError(
            f"log_probabilities must be of examples and 1 to {_MOST_CLASSES} classes, with a label each "
            f"(got the shapes {log_probabilities.shape} and {labels.shape})"
        )
    if labels.dtype.kind not in "iu" or log_probabilities.dtype.kind != "f":
        raise ValueError(
            f"labels must be integers, and log_probabilities numbers (got {labels.dtype} and "
            f"{log_probabilities.dtype})"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be from 0 to {classes - 1} (got {labels.min()} to {labels.max()})")
