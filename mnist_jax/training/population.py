"""Many models in one program: who they are, and their states and steps side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from mnist_jax.config.fields import flatten
from mnist_jax.config.population import VARIED
from mnist_jax.config.variants import Member
from mnist_jax.data import Dataset
from mnist_jax.data.feeding import Rows
from mnist_jax.metrics.predictions import Predictions, predictions_of
from mnist_jax.system.mesh import place, state_shardings
from mnist_jax.training import steps
from mnist_jax.training.optimizers import create_optimizer, create_schedule
from mnist_jax.training.plan import Plan
from mnist_jax.training.steps import TrainState


class Population(NamedTuple):
    """Of P models, with P as the first axis of every array: where they are, and where each was best."""

    states: TrainState
    best: TrainState


def build_population(
    members: Sequence[Member], dataset: Dataset, plan: Plan, mesh: Mesh
) -> tuple[Population, jax.stages.Wrapped]:
    """The models before the first step, and what trains them.

    Returns: the population, and a jitted `(states, rows) -> (states, metrics)` with rows of shape (P, S, B)
    and metrics (P, S), else as in `steps.make_train_chunk`.
    """
    config, classes = members[0].config, len(dataset.class_names)
    fields = [dict(flatten(member.config.to_dict())) for member in members]
    varied = {
        field: np.array([one[field] for one in fields], np.float32)
        for field in VARIED.values()
        if field != "seed" and any(one[field] != fields[0][field] for one in fields)
    }

    def optimizer_of(settings: Any) -> tuple[Any, Any]:
        schedule = create_schedule(settings, plan.steps_per_epoch, plan.total_steps)
        return create_optimizer(settings, schedule), schedule

    optimizer, _ = optimizer_of(config)
    created = [
        steps.create_state(member.config, dataset.train.images, classes, optimizer) for member in members
    ]
    graphdef = created[0][0]

    def one(state: TrainState, rows: Rows, changes: Mapping[str, Any]) -> Any:
        traced = _with(config, changes)
        return steps.make_train_chunk(traced, graphdef, *optimizer_of(traced))(state, rows)

    def train_chunk(states: TrainState, rows: Rows) -> Any:
        axes: Any = (None, None, 0) if rows.indices is not None else (0, 0, None)
        return jax.vmap(one, in_axes=(0, Rows(*axes), 0))(states, rows, varied)

    states = jax.tree.map(lambda *leaves: np.stack(leaves), *[state for _, state in created])
    shardings = state_shardings(mesh, states, shard_params=config.mesh.shard_params)
    population = Population(place(states, shardings), place(states, shardings))
    return population, steps.compiled(train_chunk, mesh, shardings)


@jax.jit
def state_of(states: TrainState, place: int) -> TrainState:
    """The state of one model."""
    return jax.tree.map(lambda leaf: leaf[place], states)


@jax.jit
def keep_better(population: Population, better: jax.Array) -> Population:
    """Takes the states as they are for the best of the models that got better, bool (P,)."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return population._replace(best=jax.tree.map(choose, population.states, population.best))


def ensemble(predictions: Sequence[Predictions]) -> Predictions:
    """What several models say of the same examples: their probabilities, averaged."""
    stacked = np.stack([one.log_probabilities for one in predictions]).astype(np.float64)
    mean = np.logaddexp.reduce(stacked, axis=0) - np.log(len(stacked))
    return predictions_of(mean.astype(np.float32), predictions[0].labels)


def _with(config: ml_collections.FrozenConfigDict, changes: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config with fields that are traced values."""
    loose = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    loose.update_from_flattened_dict(dict(changes))
    return loose
