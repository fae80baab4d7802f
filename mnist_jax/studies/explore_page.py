"""One page about a data set, that needs nothing beside itself."""

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

_PAIRS = 12  # in a figure
_VARIETIES = 10  # classes whose variety is shown
_COMPARED = 2**30  # bytes of training images, up to which each test image is compared with all of them


class Section(NamedTuple):
    """text: what there is to see. rows: of a table, alike in their keys."""

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
    """Writes the page whole or not at all.

    config: of the run, for what it normalizes with. predictions: of the test split by a model that was not
    trained on it.
    """
    page = load_template("data_page.html.jinja").render(
        dataset=dataset,
        sections=[
            (section, [base64.b64encode(figures.png(figure)).decode() for figure in section.figures])
            for section in sections(dataset, config, predictions)
        ],
    )
    write_whole(path, page.encode())


def sections(
    dataset: Dataset, config: ml_collections.FrozenConfigDict, predictions: Predictions | None
) -> Iterator[Section]:
    """What the page shows, from top to bottom."""
    splits = explore.describe_splits(dataset)
    yield Section("Splits", "Dimensions are height x width x channels; MiB is decoded.", splits)
    yield Section("Images", "Drawn at random from train.", figures=[figures.samples(dataset)])
    yield Section("Labels", "", figures=[figures.label_distribution(dataset)])
    yield Section(
        "Pixels",
        "Mean and deviation of levels in [0, 1] over train, and those that the config normalizes with.",
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
        yield Section("Doubtful labels", "With --workdir=RUN, those of test that its model believes least.")
    else:
        yield Section(
            "Doubtful labels",
            "The model was not trained on these: what it doubts is hard, or labelled wrongly.",
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
    """How many pairs of equal examples lie in which splits, and how many of them have different labels."""
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
        return Section(title, "Left out: the set is so large that it would take hours.")
    found = explore.closest_pairs(dataset)
    shown = figures.pairs(dataset, found[:_PAIRS], "The closest pairs (labels, and distance in levels)")
    text = "Where these are copies of one another, the test split tells too little of new images."
    return Section(title, text, figures=[figures.nearest_distances(found), shown])
