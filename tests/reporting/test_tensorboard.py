"""Event files, read back: the same numbers and pictures, each step once, and no failure that ends a run."""

import io

import ml_collections
import numpy as np
import pytest
from cases import predictions_from
from event_files import scalars_of, values_of
from PIL import Image
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from mnist_jax.config.fields import default_config
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.curves import ranking_curves
from mnist_jax.reporting.sheets import confusion_sheet, picture_sheet
from mnist_jax.reporting.tensorboard import EventFile

CLASSES = tuple("abc")


def config(on=True):
    config = default_config()
    config.tensorboard = on
    return ml_collections.FrozenConfigDict(config)


def train_row(step):
    row = {"split": "train", "step": step, "epoch": step / 10, "steps": 10, "loss": 1 / step}
    return {**row, "learning_rate": 0.1, "images_per_second": None if step == 10 else 1000.0}


def results(examples=60):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(examples, 3)), rng.integers(0, 3, examples)
    images = rng.integers(0, 256, (examples, 8, 6, 1), np.uint8)
    return predictions_from(np.log(np.exp(scores) / np.exp(scores).sum(1, keepdims=True)), labels), images


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tensorboard"


def test_what_is_logged_is_read_back(folder):
    said = []
    events = EventFile(folder, config(), said.append, step=0)
    for step in (10, 20):
        events.log(train_row(step))
    events.log({"split": "validation", "step": 20, "epoch": 2.0, "accuracy": 0.75, "loss": float("nan")})
    predictions, images = results()
    labels = predictions.labels
    events.log_results(20, predictions, Arrays(images, labels), CLASSES)
    events.close()
    assert said == []
    scalars = scalars_of(folder)
    assert scalars["train/loss"] == [(10, np.float32(0.1)), (20, np.float32(0.05))]
    assert scalars["train/images_per_second"] == [(20, 1000.0)]
    assert scalars["validation/accuracy"] == [(20, 0.75)]
    assert "train/epoch" not in scalars

    found = values_of(folder)
    for tag, sheet in (
        ("test/confusion", confusion_sheet(predictions.confusion, CLASSES)),
        ("test/mistakes", None),
    ):
        ((step, value),) = found[tag]
        picture = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
        assert (step, value.image.height, value.image.width) == (20, *picture.shape[:2])
        assert sheet is None or np.array_equal(picture, sheet)
    for label, (name, curve) in enumerate(zip(CLASSES, ranking_curves(predictions), strict=True)):
        ((_, value),) = found[f"test/pr/{name}"]
        true, false, *_, precision, recall = np.reshape(value.tensor.float_val, (6, -1))
        assert (true[0], true[0] + false[0]) == ((labels == label).sum(), len(labels))
        exact = set(zip(*curve.pr.round(6).tolist(), strict=True))
        on_curve = [point in exact for point in zip(recall.round(6), precision.round(6), strict=True)]
        assert np.mean(on_curve) > 0.1  # the others are between its bends
    started = HParamsPluginData.FromString(
        found["_hparams_/session_start_info"][0][1].metadata.plugin_data.content
    ).session_start_info.hparams
    assert started["optimizer.name"].string_value == config().optimizer.name
    assert started["optimizer.learning_rate"].number_value == config().optimizer.learning_rate
    assert not [name for name in started if name.startswith("wandb.")]
    assert "_hparams_/session_end_info" in found


def test_a_resumed_run_has_each_step_once(folder):
    for first, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        events = EventFile(folder, config(), pytest.fail, step=first)
        for step in steps:
            events.log(train_row(step))
        events.close()
    assert len(list(folder.iterdir())) == 2
    assert [step for step, _ in scalars_of(folder)["train/loss"]] == [10, 20, 30, 40]


def test_off_it_writes_nothing(folder):
    events = EventFile(folder, config(on=False), pytest.fail, step=0)
    events.log(train_row(10))
    events.close()
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_or_a_full_disk_is_one_line(folder, file_limit):
    said = []
    folder.write_text("a file")
    events = EventFile(folder, config(), said.append, step=0)
    for step in (10, 20):
        events.log(train_row(step))
    folder.unlink()
    full = EventFile(folder, config(), said.append, step=0)
    full.log(train_row(10))
    file_limit(next(folder.iterdir()).stat().st_size)
    for step in (20, 30):
        full.log(train_row(step))
    full.close()
    assert [line.split(":")[0] for line in said] == ["TensorBoard", "TensorBoard"]
    assert all(line.endswith("; the run continues without it") for line in said)
    assert "File exists" in said[0]
    assert "File too large" in said[1]


def test_pictures_of_any_size_and_classes_of_any_number():
    predictions, _ = results()
    images = np.zeros((60, 3, 200, 3), np.uint8)
    sheet = picture_sheet(np.arange(5), images, predictions, ["a class with a very long name"] * 3)
    assert (sheet.dtype, sheet.shape[2]) == (np.uint8, 3)
    assert (sheet == 0).any()
    many = confusion_sheet(np.diag(np.arange(1, 101)), [f"class {k}" for k in range(100)])
    assert many.shape == (600, 600, 3)
    assert many[3, 3].tolist() == [31, 119, 180]
    assert many[3, 9].tolist() == [255, 255, 255]
