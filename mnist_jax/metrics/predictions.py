"""What a model said of every example of a split, and the file that keeps it."""

import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular, write_whole


class Predictions(NamedTuple):
    """Of every example of a split, in order, once.

    labels: int32 (N,). log_probabilities: float32 (N, K). confusion: int64 (K, K), rows true classes, columns
    predicted; the predicted class is the likeliest, the first of equals.
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
    """Predictions whose confusion matrix is counted here, from (N, K) and (N,)."""
    classes = log_probabilities.shape[1]
    cells = labels.astype(np.int64) * classes + log_probabilities.argmax(axis=1)
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    return Predictions(labels, log_probabilities, confusion)


def ensemble(predictions: Sequence[Predictions]) -> Predictions:
    """What several models say of the same examples: the mean of their probabilities."""
    stacked = np.stack([one.log_probabilities for one in predictions]).astype(np.float64)
    mean = np.logaddexp.reduce(stacked, axis=0) - np.log(len(stacked))
    return predictions_of(mean.astype(np.float32), predictions[0].labels)


def save_predictions(
    path: pathlib.Path, predictions: Predictions, step: int, class_names: Sequence[str]
) -> None:
    """Writes the file whole or not at all.

    Args:
        path: of the file.
        predictions: become `labels` and `log_probabilities`.
        step: of the checkpoint.
        class_names: by label, (K,); other programs need them to read the file.
    """
    file = io.BytesIO()
    np.savez(
        file,
        step=step,
        labels=predictions.labels,
        log_probabilities=predictions.log_probabilities,
        class_names=np.array(class_names, np.str_),
    )
    write_whole(path, file.getvalue())


def load_predictions(path: pathlib.Path) -> tuple[int, Predictions]:
    """The step of the checkpoint, and what it said.

    Raises UserError: the file is not there, or damaged.
    """
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as arrays:
            return int(arrays["step"]), predictions_of(arrays["log_probabilities"], arrays["labels"])
    except Exception as error:  # numpy and zipfile raise whatever a damaged file leads them to
        raise UserError(f"{path} cannot be read: {error}") from error
