"""What a run is made of, built from config and data in one way for training and for evaluation."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections
from jax.sharding import Mesh

from mnist_jax.data import Dataset
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh, place, state_shardings
from mnist_jax.training.optimizers import create_optimizer, create_schedule
from mnist_jax.training.plan import Plan, make_plan
from mnist_jax.training.predict import predict_split
from mnist_jax.training.steps import (
    TrainState,
    compiled,
    create_state,
    make_classify,
    make_predict,
    make_train_chunk,
)


class Experiment(NamedTuple):
    """mesh: the devices that share the batches. state: before the first step. train_chunk: see
    `steps.make_train_chunk`.

    predict: from a split and a state to the predictions of every example, in order. classify, to be traced:
    from a state and uint8 images (B, H, W, C) to log-probabilities, float32 (B, K).
    """

    plan: Plan
    mesh: Mesh
    state: TrainState
    train_chunk: jax.stages.Wrapped
    predict: Callable[[Arrays, TrainState], Predictions]
    classify: Callable[[TrainState, jax.Array], jax.Array]


def build(config: ml_collections.FrozenConfigDict, dataset: Dataset) -> Experiment:
    """The experiment of a config on a data set.

    Raises UserError: the schedule does not fit the length of the run, the devices not the batch, or
    `config.augment.crop` not the images.
    """
    _require_reflection(config, dataset.image_shape)
    mesh = make_mesh(config)
    plan = make_plan(config, len(dataset.train.labels))
    schedule = create_schedule(config, plan.steps_per_epoch, plan.total_steps)
    optimizer = create_optimizer(config, schedule)
    graphdef, state = create_state(config, dataset.train.images, len(dataset.class_names), optimizer)
    shardings = state_shardings(mesh, state, shard_params=config.mesh.shard_params)
    predict_batch = make_predict(config, graphdef, mesh)

    def predict(split: Arrays, state: TrainState) -> Predictions:
        return predict_split(
            functools.partial(predict_batch, state.evaluated_params, state.model_state),
            split,
            len(dataset.class_names),
            config.data.placement,
            config.evaluation.batch_size,
            mesh,
        )

    classify_with = make_classify(config, graphdef)

    def classify(state: TrainState, images: jax.Array) -> jax.Array:
        return classify_with(state.evaluated_params, state.model_state, images)

    train_chunk = compiled(make_train_chunk(config, graphdef, optimizer, schedule), mesh, shardings)
    return Experiment(plan, mesh, place(state, shardings), train_chunk, predict, classify)


def _require_reflection(config: ml_collections.FrozenConfigDict, image_shape: tuple[int, int, int]) -> None:
    """Raises UserError: images are not large enough to be reflected as far as `config.augment.crop` asks."""
    height, width, _ = image_shape
    if config.augment.crop >= min(height, width):
        raise UserError(
            f"config.augment.crop is {config.augment.crop}, but the images are {height} x {width} pixels; "
            "it has to be less than their shorter side"
        )
