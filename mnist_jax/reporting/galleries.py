"""Examples as pictures, with the predictions of a model."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mnist_jax.metrics.predictions import Predictions


def worst_mistakes(predictions: Predictions, count: int) -> np.ndarray:
    """Indices of wrong predictions, highest confidence first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    confidence = predictions.log_probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")][:count]


def drawn(size: int, count: int) -> np.ndarray:
    """Indices of random examples, always the same."""
    return np.sort(np.random.default_rng(0).permutation(size)[:count])


def gallery(
    indices: np.ndarray, images: np.ndarray, predictions: Predictions, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Examples for a page: the picture as a data URI, the true and the most probable classes."""
    pictures = []
    for index in indices.tolist():
        shares = np.exp(predictions.log_probabilities[index].astype(np.float64))
        ranked = np.argsort(-shares, kind="stable")[:3]
        pictures.append(
            {
                "index": index,
                "source": data_uri(images[index]),
                "true": names[predictions.labels[index]],
                "predicted": names[ranked[0]],
                "right": bool(ranked[0] == predictions.labels[index]),
                "top": [(names[k], f"{shares[k]:.1%}") for k in ranked],
            }
        )
    return pictures


def as_picture(pixels: np.ndarray) -> Image.Image:
    """The image of uint8 pixels (H, W, C); the first channel where there are not 3 or 4."""
    return Image.fromarray(pixels if pixels.shape[-1] in (3, 4) else pixels[..., 0])


def data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    as_picture(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
