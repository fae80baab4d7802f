import io

import numpy as np
import pytest
from cases import predictions_from
from PIL import Image

from configs import digits
from mnist_jax import data
from mnist_jax.studies import explore, figures


@pytest.fixture(scope="module")
def dataset():
    return data.load(digits.get_config().data)


def test_bars_are_the_shares_of_the_classes(dataset):
    (axes,) = figures.label_distribution(dataset).axes
    for container, split in zip(
        axes.containers, (dataset.train, dataset.validation, dataset.test), strict=True
    ):
        expected = 100 * np.bincount(split.labels) / len(split.labels)
        np.testing.assert_allclose([bar.get_height() for bar in container], expected)
    assert axes.get_ylabel() == "share of the split, %"


def test_the_mass_at_zero_is_drawn_and_told(dataset):
    (axes,) = figures.pixel_distribution(dataset).axes
    (line,) = axes.lines
    zero = 100 * np.mean(dataset.train.images == 0)
    assert line.get_ydata()[0] == pytest.approx(zero)
    assert sum(line.get_ydata()) == pytest.approx(100)
    assert f"{zero:.1f}% are 0" in axes.get_legend().get_texts()[0].get_text()


def test_a_grid_has_each_image_in_its_place(dataset):
    rows = explore.samples_by_class(dataset.train.labels, range(10), 4)
    (axes,) = figures.samples(dataset, columns=4).axes
    mosaic = axes.images[0].get_array()
    assert mosaic.shape == (10 * 9 - 1, 4 * 9 - 1, 4)
    for label in range(10):
        for place in range(4):
            cell = mosaic[9 * label : 9 * label + 8, 9 * place : 9 * place + 8]
            expected = np.broadcast_to(dataset.train.images[rows[label, place]], (8, 8, 3))
            np.testing.assert_array_equal(cell[..., :3], expected)
            assert np.all(cell[..., 3] == 255)
    assert not mosaic[8].any()  # gaps are transparent
    assert [text.get_text() for text in axes.get_yticklabels()] == list(dataset.class_names)


def test_distances_are_written_in_their_cells(dataset):
    means, _ = explore.class_statistics(dataset.train, 10)
    axes = figures.mean_distances(dataset, means).axes[0]
    expected = explore.distances_of_means(means)
    np.testing.assert_array_equal(axes.images[0].get_array(), expected)
    assert [text.get_text() for text in axes.texts] == [f"{value:.0f}" for value in expected.ravel()]


def test_doubtful_labels_come_with_what_the_model_says(dataset):
    logits = 9.0 * np.eye(10)[dataset.test.labels]
    logits[5] = 9.0 * np.eye(10)[(dataset.test.labels[5] + 1) % 10]
    figure = figures.doubtful_labels(dataset, predictions_from(logits, dataset.test.labels), count=3)
    assert len(figure.axes) == 3
    title = figure.axes[0].get_title()
    assert title.startswith(f"no. 5: {dataset.test.labels[5]} 0.0%\nor {(dataset.test.labels[5] + 1) % 10} ")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), dataset.test.images[5, ..., 0])


def test_a_figure_is_written_as_png(dataset):
    image = Image.open(io.BytesIO(figures.png(figures.label_distribution(dataset), dpi=50)))
    assert (image.format, image.width) == ("PNG", 450)
