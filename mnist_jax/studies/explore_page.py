"""A self-contained page about a data set."""

import base64
import collections
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ml_collections
from matplotlib.figure import Figure

from mnist_jax.data import Dataset
from mnist_jax.data.normalization import channel_statistics, normalized
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.reporting.templates import load_template
from mnist_jax.studies import explore, figures
from mnist_jax.system.files import write_whole

_PAIRS = 12  # most pairs in a figure
_VARIETIES = 10  # classes whose variety is shown
_COMPARED = 2**30  # most bytes of training images that test images are compared with


_INKS = {"light": "#1c1d1f", "dark": "#e6e7e9"}  # of figures, by the page's colour scheme


class Section(NamedTuple):
    """A part of the page. rows: of a table, all with the same keys."""

    title: str
    text: str
    rows: Sequence[dict[str, Any]] = ()
    figures: Sequence[Figure] = ()


def write_data_page(
    path: pathlib.Path,
    dataset: Dataset,
    config: ml_collections.FrozenConfigDict,
    predictions: Predictions | None = None,
) -> None:
    """Writes the page atomically.

    Args:
      path: the HTML file.
      dataset: the data set.
      config: config with the mean and deviation to compare with.
      predictions: predictions of the test split, by a model that was not trained on it.
    """
    page = load_template("data_page.html.jinja").render(
        dataset=dataset,
        sections=[
            (
                section,
                [
                    {ground: _encoded(figure, ink) for ground, ink in _INKS.items()}
                    for figure in section.figures
                ],
            )
            for section in sections(dataset, config, predictions)
        ],
    )
    write_whole(path, page.encode())


def sections(
    dataset: Dataset, config: ml_collections.FrozenConfigDict, predictions: Predictions | None
) -> Iterator[Section]:
    """The sections of the page, from top to bottom."""
    splits = explore.describe_splits(dataset)
    yield Section("Splits", "Dimensions are height x width x channels. MiB: decoded size.", splits)
    yield Section("Images", "Random examples of train.", figures=[figures.samples(dataset)])
    yield Section("Labels", "", figures=[figures.label_distribution(dataset)])
    yield Section(
        "Pixels",
        "Mean and standard deviation of levels in [0, 1] over train, and the values in the config.",
        channel_rows(dataset, config),
        [figures.pixel_distribution(dataset)],
    )
    means, deviations = explore.class_statistics(dataset.train, len(dataset.class_names))
    average = figures.mean_images(dataset, means, deviations)
    yield Section("Classes on average", "", figures=[average, figures.mean_distances(dataset, means)])
    shown = range(min(len(dataset.class_names), _VARIETIES))
    text = f"Of the first {len(shown)} classes." if len(shown) < len(dataset.class_names) else ""
    varieties = [figures.variety(dataset, label, means[label]) for label in shown]
    yield Section("Variety within a class", text, figures=varieties)
    yield _duplicates(dataset)
    yield _closest(dataset)
    if predictions is None:
        yield Section(
            "Doubtful labels",
            "--workdir=RUN shows the test labels that the model of that run finds least probable.",
        )
    else:
        yield Section(
            "Doubtful labels",
            "The model was not trained on these examples. They are hard or mislabelled.",
            figures=[figures.doubtful_labels(dataset, predictions)],
        )


def channel_rows(dataset: Dataset, config: ml_collections.FrozenConfigDict) -> list[dict[str, Any]]:
    """Mean and deviation of each channel of train, beside those of the config."""
    means, deviations = channel_statistics(dataset.train.images)
    config = normalized(config, dataset.mean, dataset.std)
    given = len(config.data.mean)
    return [
        {
            "channel": name,
            "mean": f"{mean:.4f}",
            "deviation": f"{deviation:.4f}",
            "config.data.mean": f"{config.data.mean[channel % given]:.4f}",
            "config.data.std": f"{config.data.std[channel % given]:.4f}",
        }
        for channel, (mean, deviation, (name, _)) in enumerate(
            zip(means, deviations, figures.channels(dataset), strict=True)
        )
    ]


def duplicate_rows(groups: Sequence[Sequence[explore.Place]]) -> list[dict[str, Any]]:
    """Pairs of equal examples by split, and how many of them have different labels."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    conflicts: collections.Counter[tuple[str, str]] = collections.Counter()
    for group in groups:
        kinds = list(collections.Counter((place.role, place.label) for place in group).items())
        for ((role, label), count), ((other, second), others) in itertools.combinations(kinds, 2):
            counts[role, other] += count * others
            conflicts[role, other] += count * others * (label != second)
        for (role, _), count in kinds:
            counts[role, role] += count * (count - 1) // 2
    return [
        {"splits": f"{first} and {second}", "pairs": count, "with different labels": conflicts[first, second]}
        for (first, second), count in counts.items()
        if count
    ]


def _encoded(figure: Figure, ink: str) -> str:
    return base64.b64encode(figures.png(figure, ink=ink)).decode()


def _duplicates(dataset: Dataset) -> Section:
    groups = explore.duplicates(dataset)
    if not groups:
        return Section("Duplicates", "No two examples have the same pixels.")
    pairs = [explore.ImagePair(group[0], group[1], 0.0) for group in groups[:_PAIRS]]
    shown = figures.pairs(dataset, pairs, "Examples with the same pixels")
    text = f"{sum(map(len, groups)):,} examples have the same pixels as another, in {len(groups):,} groups."
    return Section("Duplicates", text, duplicate_rows(groups), [shown])


def _closest(dataset: Dataset) -> Section:
    title = "Test images beside the most similar of train"
    if dataset.train.images.nbytes > _COMPARED:
        return Section(title, "Not computed: the set is too large, and it would take hours.")
    found = explore.closest_pairs(dataset)
    shown = figures.pairs(dataset, found[:_PAIRS], "The closest pairs (labels, and distance in levels)")
    text = "If these are copies, test scores say little about new images."
    return Section(title, text, figures=[figures.nearest_distances(found), shown])
