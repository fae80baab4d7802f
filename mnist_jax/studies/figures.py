"""Figures of a data set by matplotlib, readable in print, on dark pages and by colour-blind readers.

Each function returns a `matplotlib.figure.Figure`, for notebooks or for `png`.
"""

import io
import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_jax.data import ROLES, Dataset, normalization
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.studies import explore
from mnist_jax.studies.explore import ImagePair, Place

# Okabe and Ito's colours, https://jfly.uni-koeln.de/color/, in an order whose greys differ in print.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_CHANNELS = {1: (("grey", "#7a7a7a"),), 3: (("red", "#D55E00"), ("green", "#009E73"), ("blue", "#0072B2"))}
_LINES = ("-", "--", ":")
_CLASSES = 20  # most rows of a figure with one row per class
_WIDTH = 9.0  # inches


def png(figure: Figure, *, dpi: int = 100, ink: str = "black") -> bytes:
    """The figure as a PNG file with a transparent ground; ink: colour of its axes and texts."""
    _recolour(figure, ink)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, transparent=True)
    return content.getvalue()


def _recolour(figure: Figure, ink: str) -> None:
    """Changes the colour of titles, labels, axes and legends; texts on images keep theirs."""
    for text in figure.texts:
        text.set_color(ink)
    for axes in figure.axes:
        axes.tick_params(which="both", color=ink, labelcolor=ink)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(ink)
        for spine in axes.spines.values():
            spine.set_edgecolor(ink)
        if legend := axes.get_legend():
            legend.get_frame().set_alpha(0)
            for text in legend.get_texts():
                text.set_color(ink)


def samples(dataset: Dataset, *, columns: int = 10) -> Figure:
    """Random images of each class, one row per class."""
    shown = range(min(len(dataset.class_names), _CLASSES))
    rows = explore.samples_by_class(dataset.train.labels, shown, columns)
    return _grid(
        [[_image(dataset.train, row) for row in line] for line in rows],
        f"{_plain(dataset.name)}, train: {columns} images of each class",
        rows=_names(dataset)[: len(shown)],
    )


def label_distribution(dataset: Dataset) -> Figure:
    """The share of each class in each split."""
    counts = explore.label_counts(dataset)
    names, positions = _names(dataset), np.arange(len(dataset.class_names))
    figure, axes = _axes(height=3.4)
    for number, (role, found) in enumerate(counts.items()):
        axes.bar(
            positions + (number - 1) * 0.27,
            100 * found / found.sum(),
            width=0.25,
            color=_COLOURS[number],
            hatch=("", "//", "..")[number],
            edgecolor="white",
            label=f"{role}: {found.sum():,} examples, {found.min():,} to {found.max():,} per class",
        )
    axes.axhline(100 / len(names), color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xticks(positions, names, rotation=0 if max(map(len, names)) < 4 else 30)
    axes.set(title="Share of each class (dashed: balanced)", xlabel="class", ylabel="share of the split, %")
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
    axes.legend(loc="upper center", fontsize=8)
    return figure


def pixel_distribution(dataset: Dataset) -> Figure:
    """The frequency of each level by channel, on a log axis since 0 and 255 dominate."""
    counts = normalization.pixel_counts(dataset.train.images)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    figure, axes = _axes(height=3.6)
    for number, (name, colour) in enumerate(channels(dataset)):
        text = f"{name}: {shares[number, 0]:.1f}% are 0, {shares[number, -1]:.1f}% are 255"
        style = _LINES[number % 3]
        levels = range(normalization.LEVELS)
        axes.step(levels, shares[number], where="mid", color=colour, linestyle=style, label=text)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(title="Pixels of train", xlabel="level, 0 to 255", ylabel="share of pixels, %, log scale")
    axes.legend(fontsize=8)
    return figure


def mean_images(dataset: Dataset, means: np.ndarray, deviations: np.ndarray) -> Figure:
    """The mean image of each class above the standard deviation of each pixel.

    means, deviations: of `explore.class_statistics`.
    """
    shown = slice(0, _CLASSES)
    spread = 2 * deviations.mean(axis=-1, keepdims=True)
    return _grid(
        [list(np.nan_to_num(each[shown]).round().astype(np.uint8)) for each in (means, spread)],
        "Mean image of each class; standard deviation of each pixel (white: 127 levels)",
        rows=["mean", "deviation"],
        columns=_names(dataset)[shown],
    )


def variety(dataset: Dataset, label: int, mean: np.ndarray, *, columns: int = 12) -> Figure:
    """Examples of a class: those nearest to its mean image (H, W, C), some in between, and the farthest."""
    rows = explore.by_distance(dataset.train, label, mean)
    between = rows[np.linspace(0, len(rows) - 1, min(columns, len(rows))).astype(int)]
    lines = (rows[:columns], between, rows[-columns:])
    return _grid(
        [[_image(dataset.train, row) for row in line] for line in lines],
        f"Class {_names(dataset)[label]} by distance to its mean image",
        rows=["nearest", "in steps", "farthest"],
    )


def mean_distances(dataset: Dataset, means: np.ndarray) -> Figure:
    """Distances between the mean images of classes, float (K, H, W, C)."""
    distances = explore.distances_of_means(means)
    names, small = _names(dataset), len(dataset.class_names) <= _CLASSES
    figure, axes = _axes(height=6.2, width=7.2)
    image = axes.imshow(distances, cmap="cividis")
    if small:
        axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) < 4 else 45)
        axes.set_yticks(range(len(names)), names)
        for (i, j), value in np.ndenumerate(distances):
            colour = "white" if value < np.nanmax(distances) / 2 else "black"
            axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set(title="Distance between the mean images of classes", xlabel="class", ylabel="class")
    figure.colorbar(image, label="root mean squared difference, levels of 255")
    return figure


def pairs(dataset: Dataset, found: Sequence[ImagePair], title: str) -> Figure:
    """Pairs of images, the second below the first."""
    names = _names(dataset)
    return _grid(
        [[_at(dataset, pair.first) for pair in found], [_at(dataset, pair.second) for pair in found]],
        title,
        rows=[_role([pair.first for pair in found]), _role([pair.second for pair in found])],
        columns=[f"{names[p.first.label]}\n{names[p.second.label]}\n{p.distance:.1f}" for p in found],
    )


def nearest_distances(found: Sequence[ImagePair]) -> Figure:
    """The distances of test examples to the nearest training example."""
    figure, axes = _axes(height=3.2)
    axes.hist([pair.distance for pair in found], bins=80, color=_COLOURS[0])
    axes.set(
        title=f"Distance of each {found[0].first.role} image to the nearest of train",
        xlabel="root mean squared difference, levels of 255",
        ylabel="images",
    )
    return figure


def doubtful_labels(dataset: Dataset, predictions: Predictions, *, count: int = 24) -> Figure:
    """Test examples whose label has the lowest probability by a model."""
    rows = explore.doubtful(predictions)[:count]
    names, shares, predicted = _names(dataset), predictions.probabilities, predictions.predicted
    return _gallery(
        dataset.test.images[rows],
        [
            f"no. {row}: {names[predictions.labels[row]]} {shares[row, predictions.labels[row]]:.1%}\n"
            f"or {names[predicted[row]]} {shares[row].max():.1%}"
            for row in rows
        ],
        "Test images whose label the model finds least probable",
    )


def channels(dataset: Dataset) -> Sequence[tuple[str, str]]:
    """Name and colour of each channel."""
    count = dataset.image_shape[-1]
    return _CHANNELS.get(count, [(f"channel {k}", _COLOURS[k % len(_COLOURS)]) for k in range(count)])


def _names(dataset: Dataset) -> Sequence[str]:
    return [_plain(name) for name in dataset.class_names]


def _plain(name: str) -> str:
    """A name without formulas for matplotlib."""
    return name.replace("$", r"\$")


def _image(split: Arrays, row: int) -> np.ndarray | None:
    return split.images[row] if row >= 0 else None


def _at(dataset: Dataset, place: Place) -> np.ndarray:
    return getattr(dataset, place.role).images[place.row]


def _role(places: Sequence[Place]) -> str:
    return " or ".join(role for role in ROLES if any(place.role == role for place in places))


def _axes(*, height: float, width: float = _WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _grid(
    lines: Sequence[Sequence[np.ndarray | None]],
    title: str,
    *,
    rows: Sequence[str],
    columns: Sequence[str] = (),
) -> Figure:
    """Rows of images, each with a name at its left, in one axes: a thousand axes would take a minute."""
    across = max(1, *map(len, lines))
    height, width, _ = next((image.shape for line in lines for image in line if image is not None), (1, 1, 1))
    gap = max(1, width // 14)
    mosaic = np.zeros((len(lines) * (height + gap) - gap, across * (width + gap) - gap, 4), np.uint8)
    for (i, line), column in itertools.product(enumerate(lines), range(across)):
        if column < len(line) and (image := line[column]) is not None:
            top, left = i * (height + gap), column * (width + gap)
            cell = mosaic[top : top + height, left : left + width]
            cell[..., :3], cell[..., 3] = (image if image.shape[-1] == 3 else image[..., :1]), 255
    below = 0.9 * _WIDTH * mosaic.shape[0] / mosaic.shape[1]
    above = 0.5 + (0.16 * max(name.count("\n") + 1 for name in columns) if columns else 0)
    figure, axes = _axes(height=above + below)
    axes.imshow(mosaic, interpolation="nearest")
    axes.set_title(title, fontsize=11, pad=10)
    axes.set_yticks([i * (height + gap) + height / 2 - 0.5 for i in range(len(lines))], rows)
    axes.set_xticks([j * (width + gap) + width / 2 - 0.5 for j in range(len(columns))], columns, fontsize=8)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def _gallery(images: np.ndarray, titles: Sequence[str], title: str) -> Figure:
    """Images (N, H, W, C) with a text above each."""
    across = 8
    down = -(-len(images) // across)
    figure = Figure(figsize=(_WIDTH, 1.35 * down + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for index, (image, text) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(down, across, index + 1)
        pixels = image if image.shape[-1] == 3 else image[..., 0]
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(text, fontsize=6.5)
        axes.set_axis_off()
    return figure
