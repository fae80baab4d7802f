"""What to say of a run that learned nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from mnist_jax.metrics.predictions import Predictions

_SIGNIFICANT = 0.05  # p-value from which a model may be no better than a constant answer
_FEW_STEPS = 500


def diagnose(
    config: ml_collections.FrozenConfigDict,
    rows: Sequence[Mapping[str, Any]],
    training_labels: np.ndarray,
    tested: Predictions,
) -> str | None:
    """One line about a run that learned nothing, with the most promising remedies; None for other runs.

    A run learned nothing where its accuracy on test is not better than that of always naming the commonest
    class of training, by an exact binomial test at 5%, or where its training loss did not fall.

    Args:
      config: of the run.
      rows: its history, see `storage.history`.
      training_labels: int (N,).
      tested: what its model says of test.
    """
    training = [row for row in rows if row["split"] == "train"]
    commonest = np.bincount(training_labels).argmax()
    share = float(np.mean(tested.labels == commonest))
    right, examples = int(np.sum(tested.predicted == tested.labels)), len(tested.labels)
    better = right > 0 and _tail(right, examples, share) < _SIGNIFICANT
    fell = len(training) < 2 or training[-1]["loss"] < training[0]["loss"]
    if better and fell:
        return None
    found = f"the training loss did not fall ({training[0]['loss']:.4f} to {training[-1]['loss']:.4f})"
    if not better:
        accuracy = f"the test accuracy {right / examples:.4f}"
        found = f"{accuracy} is not significantly better than always naming the commonest class ({share:.4f})"
    remedies = ", or ".join(_remedies(config, training, share))
    return f"this run may have learned nothing: {found}; try {remedies}"


def _tail(successes: int, trials: int, rate: float) -> float:
    """The probability of at least so many successes, or a bound of it that is small enough to decide."""
    excess = max(successes / trials - rate, 0.0)
    bound = math.exp(-2 * trials * excess**2)  # Hoeffding's: https://doi.org/10.1080/01621459.1963.10500830
    if bound < _SIGNIFICANT:
        return bound
    from scipy.special import bdtrc  # which takes longer to import than the rest of a run's end

    return float(bdtrc(successes - 1, trials, rate))


def _remedies(
    config: ml_collections.FrozenConfigDict, training: Sequence[Mapping[str, Any]], share: float
) -> list[str]:
    """The two or three remedies that fit the run, most promising first."""
    steps, rate = (training[-1]["step"] if training else 0), config.optimizer.learning_rate
    learned = bool(training) and training[-1]["accuracy"] > (1 + share) / 2
    found = []
    if learned:
        found.append(
            f"more or augmented images, and check that test is like training, whose accuracy is "
            f"{training[-1]['accuracy']:.4f}"
        )
    if steps < _FEW_STEPS:
        found.append(f"a longer run than {steps} steps: --config.train.steps={2 * _FEW_STEPS}")
    if not learned:
        found.append(f"another learning rate: --config.optimizer.learning_rate={rate / 10:g}")
    if config.model.norm == "none":
        found.append("normalization: --config.model.norm=batch")
    found.append("a look at the images and labels: mnist-jax explore")
    return found[:3]
