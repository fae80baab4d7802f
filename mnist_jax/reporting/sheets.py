"""Pictures of results as pixels: a sheet of examples with captions, and a confusion matrix."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnist_jax.metrics.predictions import Predictions
from mnist_jax.reporting.galleries import as_picture

_COLUMNS = 4
_TILE = 88  # pixels of a picture's side
_CAPTION = 32
_NUMBERED = 20  # classes up to which counts and names fit


def picture_sheet(
    indices: np.ndarray, images: np.ndarray, predictions: Predictions, names: Sequence[str]
) -> np.ndarray:
    """Examples with true class, predicted class and its probability, uint8 (H, W, 3).

    Args:
      indices: of the examples, (N,).
      images: uint8 (M, H, W, C).
      predictions: of all M.
      names: of the classes.
    """
    rows = -(-len(indices) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_TILE + 8), rows * (_TILE + _CAPTION + 8)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for position, index in enumerate(indices.tolist()):
        row, column = divmod(position, _COLUMNS)
        x, y = column * (_TILE + 8) + 4, row * (_TILE + _CAPTION + 8) + 4
        picture = as_picture(images[index])
        scale = _TILE / max(picture.size)
        size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        sheet.paste(picture.convert("RGB").resize(size, Image.Resampling.NEAREST), (x, y))
        predicted = int(predictions.predicted[index])
        share = float(np.exp(predictions.log_probabilities[index, predicted]))
        draw.text((x, y + _TILE), _cut(f"true {names[predictions.labels[index]]}"), "black", font)
        draw.text((x, y + _TILE + 14), _cut(f"{names[predicted]}: {share:.0%}"), (180, 0, 0), font)
    return np.asarray(sheet)


def confusion_sheet(confusion: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A confusion matrix as shares of each true class, uint8 (H, W, 3); up to 20 classes with counts.

    Args:
      confusion: counts, (K, K), rows true classes.
      names: of the classes.
    """
    classes = len(names)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    blue = np.array([31, 119, 180])
    colors = (255 - shares[..., None] * (255 - blue)).astype(np.uint8)
    if classes > _NUMBERED:
        scale = max(640 // classes, 1)
        return np.kron(colors, np.ones((scale, scale, 1), np.uint8))
    cell, margin = 30, 84
    sheet = Image.new("RGB", (margin + classes * cell + 8, margin + classes * cell + 8), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    draw.text((4, 4), "rows: true class\ncolumns: predicted", "black", font)
    for true in range(classes):
        at = margin + true * cell
        draw.text((margin - 6, at + cell / 2), _cut(names[true], 12), "black", font, anchor="rm")
        draw.text((at + cell / 2, margin - 8), _cut(names[true], 4), "black", font, anchor="ms")
        for predicted in range(classes):
            x, y = margin + predicted * cell, at
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), tuple(colors[true, predicted].tolist()))
            if count := int(confusion[true, predicted]):
                ink = "white" if shares[true, predicted] > 0.5 else "black"
                draw.text((x + cell / 2, y + cell / 2), str(count), ink, font, anchor="mm")
    return np.asarray(sheet)


def _cut(text: str, letters: int = 14) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}\u2026"
