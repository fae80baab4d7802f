"""The model of a finished run, or of one under way, as something to ask."""

import functools
import pathlib
from collections.abc import Callable
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
from mnist_jax.system.mesh import make_mesh
from mnist_jax.system.terminal import warn
from mnist_jax.training.predictor import model_template
from mnist_jax.training.steps import Model, make_classify

BATCH = 256  # images a forward pass: one shape, so one program


class Classifier(NamedTuple):
    """data_name: the set it learned from, without version. image_shape: (H, W, C). step: of the checkpoint.

    rendering, fit: how image files become pixels, as in training.

    probabilities: of uint8 images (N, H, W, C), float64 (N, K); calling it gives the same.
    """

    data_name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    probabilities: Callable[[np.ndarray], np.ndarray]
    rendering: Rendering = Rendering()
    fit: str = "pad"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of uint8 images (N, H, W, C), or (N, H, W) where they have one channel.

        Raises:
          UserError: they are of another dtype or shape.
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
    """A run's record and a model of it.

    classify: to be traced, from a model and uint8 images (B, H, W, C) to log-probabilities, float32 (B, K).
    """

    record: dict[str, Any]
    config: ml_collections.FrozenConfigDict
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    model: Model
    classify: Callable[[Model, jax.Array], jax.Array]


def load_classifier(workdir: str | pathlib.Path, *, step: int | None = None) -> Classifier:
    """The model of a workdir; its data are not needed.

    Args:
      workdir: of the run.
      step: of the checkpoint; None for the best on validation so far.

    Raises:
      UserError: no run there, or no such checkpoint.
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
    )


def load_trained(workdir: pathlib.Path, *, step: int | None = None) -> Trained:
    """A model of a workdir with all that it is of; see `load_classifier`."""
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
        raise UserError(f"{workdir} has no checkpoints, which a model is read from")
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep, read_only=True) as checkpoints:
        model = checkpoints.restore_model(like, warn, step=step)
    on_images = make_classify(config, graph)

    def classify(model: Model, images: jax.Array) -> jax.Array:
        return on_images(model.params, model.model_state, images)

    return Trained(record, config, names, shape, int(model.step), model, classify)
