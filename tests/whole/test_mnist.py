"""The real MNIST, from its original files, if they exist."""

import json
import signal
import subprocess

import numpy as np
import pytest
from conftest import run_main, start_main
from PIL import Image, ImageOps
from whole_runs import wait_for_step

from mnist_jax import data
from mnist_jax.config.validation import from_record, validate
from mnist_jax.serving.classifier import load_classifier
from mnist_jax.serving.pictures import fit_image

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def flags(real_mnist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    return (
        "--config=configs/mnist_fast.py",
        f"--config.data.manual_dir={real_mnist}",
        f"--config.data.data_dir={folder / 'tfds'}",
        f"--config.data.cache_dir={folder / 'cache'}",
        "--config.checkpoint.every_steps=50",
    )


@pytest.fixture(scope="module")
def workdir(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mnist"
    done = run_main(*flags, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


@pytest.fixture(scope="module")
def record(workdir):
    return json.loads((workdir / "run.json").read_text())


def test_half_an_epoch_is_accurate(record):
    assert record["data"]["name"] == "mnist/3.0.1"
    assert {role: split["examples"] for role, split in record["data"]["splits"].items()} == {
        "train": 59_000,
        "validation": 1_000,
        "test": 10_000,
    }
    assert record["metrics"]["test"]["accuracy"] >= 0.988
    assert record["metrics"]["test"]["examples"] == 10_000


@pytest.mark.long  # as test_train.py on the digits
def test_a_killed_run_ends_with_the_same_bits(record, flags, tmp_path):
    process = start_main(*flags, f"--workdir={tmp_path}", stdout=subprocess.DEVNULL)
    wait_for_step(process, tmp_path, 200)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run_main(*flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "run.json").read_text())
    assert again["params_sha256"] == record["params_sha256"]
    assert again["metrics"] == record["metrics"]


@pytest.fixture(scope="module")
def examples(record):
    """Some test images and their labels."""
    test = data.load(validate(from_record(record["config"])).data).test
    return test.images[:150, :, :, 0], test.labels[:150]


def enlarged(pixels, factor=9):
    return Image.fromarray(pixels).resize((28 * factor, 28 * factor), Image.Resampling.BICUBIC)


def photographed(pixels):
    """Dark on paper with a shadow and noise, somewhere on it."""
    paper = np.linspace(140, 220, 500)[:, None] + np.linspace(0, 30, 400)
    drawn = np.pad(np.asarray(enlarged(pixels), np.float32) / 255, ((100, 148), (50, 98)))
    noise = np.random.default_rng(int(pixels.sum())).normal(0, 4, paper.shape)
    return Image.fromarray(np.uint8(np.clip(paper * (1 - 0.8 * drawn) + noise, 0, 255)))


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: Image.fromarray(255 - pixels),
        lambda pixels: ImageOps.invert(enlarged(pixels)).convert("RGB"),
        lambda pixels: ImageOps.expand(enlarged(pixels, 4), (70, 20, 10, 140)),
        photographed,
    ],
    ids=["inverted", "enlarged and inverted", "padded", "photographed"],
)
def test_pictures_of_its_test_images_are_recognized(workdir, examples, change):
    classifier = load_classifier(workdir)
    images, labels = examples
    fitted = [fit_image(change(pixels), classifier.image_shape, classifier.data_name)[0] for pixels in images]
    found = classifier.probabilities(np.stack(fitted)).argmax(axis=1)
    assert np.mean(found == labels) >= 0.97
