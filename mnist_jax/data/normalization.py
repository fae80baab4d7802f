"""Mean and standard deviation of pixels, which normalize the input of a model."""

from collections.abc import Sequence

import ml_collections
import numpy as np

LEVELS = 256  # of a pixel
_ROWS = 5000  # images counted at once


def pixel_counts(images: np.ndarray) -> np.ndarray:
    """How many pixels have each level, int64 (C, 256). images: uint8 (N, H, W, C)."""
    counts = np.zeros((images.shape[-1], LEVELS), np.int64)
    for start in range(0, len(images), _ROWS):
        for channel in range(images.shape[-1]):
            block = images[start : start + _ROWS, ..., channel].ravel()
            counts[channel] += np.bincount(block, minlength=LEVELS)
    return counts


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the pixels of each channel, float64 (C,) each, of levels in [0, 1].

    `config.data.mean` and `config.data.std` have the same meaning.
    """
    counts, levels = pixel_counts(images), np.arange(LEVELS) / (LEVELS - 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    means = shares @ levels
    return means, np.sqrt(np.sum(shares * (levels - means[:, None]) ** 2, axis=1))


def normalization(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, to six digits; the deviation is at least one level."""
    means, deviations = channel_statistics(images)
    floor = 1 / (LEVELS - 1)
    return tuple(np.round(means, 6).tolist()), tuple(np.maximum(deviations, floor).round(6).tolist())


def normalized(
    config: ml_collections.FrozenConfigDict, mean: Sequence[float], std: Sequence[float]
) -> ml_collections.FrozenConfigDict:
    """The config with these as `data.mean` and `data.std` if it leaves them to the data."""
    if config.data.mean:
        return config
    changed = ml_collections.ConfigDict(config.to_dict())
    changed.data.mean, changed.data.std = tuple(mean), tuple(std)
    return ml_collections.FrozenConfigDict(changed)
