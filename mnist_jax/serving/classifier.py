"""Predictions by the model of a run, finished or not."""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from mnist_jax.config.population import require_one_model
from mnist_jax.config.validation import from_record, validate
from mnist_jax.data.normalization import normalized
from mnist_jax.data.rendering import Rendering
from mnist_jax.models import require_model
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.record import read_record, require_current
from mnist_jax.system import devices
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular
from mnist_jax.system.mesh import make_mesh
from mnist_jax.system.terminal import warn
from mnist_jax.training.predictor import model_template
from mnist_jax.training.steps import Model, make_classify

BATCH = 256  # images per forward pass, always, so that one program is compiled


class Classifier(NamedTuple):
    """The model of a run, ready to predict.

    Attributes:
        data_name: the training set, without its version.
        class_names: names of the K classes.
        image_shape: (H, W, C) of the images that the model takes.
        step: step of the checkpoint.
        probabilities: from uint8 images (N, H, W, C) to float64 (N, K).
        rendering: how image files become 8-bit pixels, as in training.
        fit: how images become square, as in training.
        title: name of the training set for people, such as that of its folder.
    """

    data_name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    probabilities: Callable[[np.ndarray], np.ndarray]
    rendering: Rendering = Rendering()
    fit: str = "pad"
    title: str = ""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities (N, K) of uint8 images (N, H, W, C), or (N, H, W) with one channel.

        Raises:
          UserError: the images have another dtype or shape.
        """
        images = np.asarray(images)
        if images.ndim == 3 and self.image_shape[-1] == 1:
            images = images[..., None]
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            raise UserError(
                f"images must be uint8 of shape (N, {', '.join(map(str, self.image_shape))}) "
                f"(got {images.dtype} {images.shape})"
            )
        return self.probabilities(images)


class Trained(NamedTuple):
    """The record of a run and the model of one of its checkpoints.

    classify: a function for jax.jit, from a model and uint8 images (B, H, W, C) to log-probabilities, float32
        (B, K). temperature: what it divides logits by; None: nothing.
    """

    record: dict[str, Any]
    config: ml_collections.FrozenConfigDict
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    model: Model
    classify: Callable[[Model, jax.Array], jax.Array]
    temperature: float | None


def load_classifier(workdir: str | pathlib.Path, *, step: int | None = None) -> Classifier:
    """Loads the model of a workdir, without its data.

    Args:
      workdir: workdir of the run.
      step: step of the checkpoint; None: the best on validation so far.

    Raises:
      UserError: the workdir has no run or no such checkpoint.
    """
    trained = load_trained(pathlib.Path(workdir), step=step)
    classify = jax.jit(
        functools.partial(trained.classify, trained.model), compiler_options=devices.compiler_options()
    )

    def probabilities(images: np.ndarray) -> np.ndarray:
        filled = np.zeros((-(-len(images) // BATCH) * BATCH, *images.shape[1:]), np.uint8)
        filled[: len(images)] = images
        batches = [classify(filled[start : start + BATCH]) for start in range(0, len(filled), BATCH)]
        return np.exp(np.concatenate(jax.device_get(batches)).astype(np.float64))[: len(images)]

    about = trained.record["data"]
    return Classifier(
        about["name"].split("/")[0],
        trained.class_names,
        trained.image_shape,
        trained.step,
        probabilities,
        Rendering(**about.get("rendering", {})),
        trained.config.data.fit,
        pathlib.Path(trained.config.data.dir).name,
    )


def load_trained(workdir: pathlib.Path, *, step: int | None = None) -> Trained:
    """Loads the model of a workdir and its record; see `load_classifier`."""
    record = read_record(workdir)
    require_current(record, workdir)
    config = from_record(record["config"])
    config.mesh.data = 1
    config = validate(config)
    require_one_model(config, workdir)
    require_model(config.model.name, record.get("imports", ()))
    devices.prepare_host()
    try:
        names, shape = tuple(record["data"]["classes"]), tuple(record["data"]["image_shape"])
        config = normalized(config, record["data"].get("mean", ()), record["data"].get("std", ()))
        graph, like = model_template(config, shape, len(names), make_mesh(config))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{workdir / 'run.json'} is damaged: its data lack {error}") from error
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoints to load a model from")
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep, read_only=True) as checkpoints:
        model = checkpoints.restore_model(like, warn, step=step)
    on_images, temperature = make_classify(config, graph), _temperature(workdir, record, int(model.step))

    def classify(model: Model, images: jax.Array) -> jax.Array:
        log_probabilities = on_images(model.params, model.model_state, images)
        if temperature is None:
            return log_probabilities
        return jax.nn.log_softmax(log_probabilities / temperature)

    return Trained(record, config, names, shape, int(model.step), model, classify, temperature)


def _temperature(workdir: pathlib.Path, record: Mapping[str, Any], step: int) -> float | None:
    """The temperature of a checkpoint, from the end of the run or its evaluation; None without one."""
    if not record["config"]["evaluation"].get("temperature"):
        return None
    if (record.get("best") or {}).get("step") == step and record.get("temperature"):
        return float(record["temperature"])
    try:
        return float(json.loads(read_regular(workdir / f"evaluation-{step}.json"))["temperature"])
    except (OSError, ValueError, KeyError, TypeError):
        warn(
            f"probabilities are not calibrated: the checkpoint of step {step} has no temperature; evaluate it"
        )
        return None
