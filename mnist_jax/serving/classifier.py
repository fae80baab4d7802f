"""The model of a finished run, or of one under way, as something to ask."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mnist_jax.config.fields import from_record, validate
from mnist_jax.config.population import require_one_model
from mnist_jax.data import Dataset
from mnist_jax.data.cache import Arrays
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.workdir import read_record
from mnist_jax.system import devices
from mnist_jax.system.errors import UserError
from mnist_jax.training.experiment import Experiment, build
from mnist_jax.training.steps import TrainState

BATCH = 256  # images a forward pass: one shape, so one program


class Classifier(NamedTuple):
    """data_name: the set it learned from, without version. image_shape: (H, W, C). step: of the checkpoint.

    probabilities: of uint8 images (N, H, W, C), float64 (N, K).
    """

    data_name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    probabilities: Callable[[np.ndarray], np.ndarray]


class Trained(NamedTuple):
    """A run's record, what the run is made of, and a checkpoint. dataset: its shapes and names alone."""

    record: dict[str, Any]
    dataset: Dataset
    experiment: Experiment
    step: int
    state: TrainState


def load_classifier(workdir: pathlib.Path, *, step: int | None = None) -> Classifier:
    """The model of a workdir; its data are not needed.

    step: of the checkpoint; None for the best by validation so far.
    Raises UserError: no run there, or no such checkpoint.
    """
    _, dataset, experiment, step, state = load_trained(workdir, step=step)

    def probabilities(images: np.ndarray) -> np.ndarray:
        filled = np.zeros((-(-len(images) // BATCH) * BATCH, *images.shape[1:]), np.uint8)
        filled[: len(images)] = images
        labels = np.zeros(len(filled), np.int32)  # nobody knows them
        return experiment.predict(Arrays(filled, labels), state).probabilities[: len(images)]

    name = dataset.name.split("/")[0]
    return Classifier(name, dataset.class_names, dataset.image_shape, step, probabilities)


def load_trained(workdir: pathlib.Path, *, step: int | None = None) -> Trained:
    """A checkpoint of a workdir with all that it is of; see `load_classifier`."""
    record = read_record(workdir)
    config = from_record(record["config"])
    config.evaluation.batch_size, config.mesh.data = BATCH, 1
    config = validate(config)
    require_one_model(config, workdir)
    devices.prepare_host()
    try:
        dataset = _like(record["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{workdir / 'run.json'} is damaged: its data lack {error}") from error
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoints, which a model is read from")
    experiment = build(config, dataset)
    with Checkpoints(workdir / "checkpoints", config.checkpoint, read_only=True) as checkpoints:
        return Trained(record, dataset, experiment, *checkpoints.restore_asked(step, experiment.state))


def _like(data: dict) -> Dataset:
    """A data set of the shapes and sizes that a run.json has, all black and taking no memory."""

    def split(role: str) -> Arrays:
        examples = data["splits"][role]["examples"]
        images = np.broadcast_to(np.uint8(0), (examples, *data["image_shape"]))
        return Arrays(images, np.broadcast_to(np.int32(0), examples))

    splits = {role: split(role) for role in ("train", "validation", "test")}
    return Dataset(data["name"], data["version"], data["fingerprint"], tuple(data["classes"]), **splits)
