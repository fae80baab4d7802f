"""Many models in one program: who they are, and their states and steps side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from mnist_jax import steps
from mnist_jax.config import flatten
from mnist_jax.data import Dataset, batch_indices
from mnist_jax.errors import UserError
from mnist_jax.feeding import Rows
from mnist_jax.mesh import place, state_shardings
from mnist_jax.optimizers import create_optimizer, create_schedule
from mnist_jax.plan import Plan
from mnist_jax.predictions import Predictions, predictions_of
from mnist_jax.steps import TrainState
from mnist_jax.sweeps import Member, changed, members_of, named

# What members may differ in, by the tuple of config.population: numbers, which a program takes as arguments.
VARIED = {
    "learning_rate": "optimizer.learning_rate",
    "momentum": "optimizer.momentum",
    "weight_decay": "optimizer.weight_decay",
    "label_smoothing": "train.label_smoothing",
    "dropout": "model.dropout",
    "seed": "seed",
}


class Population(NamedTuple):
    """Of P models, with P as the first axis of every array: where they are, and where each was best."""

    states: TrainState
    best: TrainState


def is_population(config: ml_collections.FrozenConfigDict) -> bool:
    """Whether a config asks for many models."""
    return bool(config.population.seeds) or any(len(config.population[name]) for name in VARIED)


def members_in(config: ml_collections.FrozenConfigDict) -> list[Member]:
    """The members that `config.population` asks for, each with the config of a model alone.

    Raises UserError: tuples of different lengths, values that may not be, or names that are not as many.
    """
    asked = config.population
    given = {name: asked[name] for name in VARIED if len(asked[name])}
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(
            "the tuples of config.population are not of one length: "
            + ", ".join(f"{name} has {length}" for name, length in lengths.items())
        )
    if asked.seeds and "seed" in given:
        raise UserError("config.population has both seeds and seed; give how many, or which")
    settings: list[dict[str, Any]] = [
        {VARIED[name]: values[k] for name, values in given.items()}
        for k in range(max(lengths.values(), default=1))
    ]
    if asked.seeds:
        seeds = range(config.seed, config.seed + asked.seeds)
        settings = [{**setting, "seed": seed} for setting in settings for seed in seeds]
    if asked.names and len(asked.names) != len(settings):
        raise UserError(f"config.population.names has {len(asked.names)} entries for {len(settings)} members")
    if asked.names and len(set(asked.names)) < len(asked.names):
        raise UserError("config.population.names has a name twice")
    alone = ml_collections.ConfigDict(config.to_dict())
    alone.population = {name: 0 if name == "seeds" else () for name in asked}
    return members_of(
        alone, dict(zip(asked.names, settings, strict=True)) if asked.names else named(settings)
    )


def grouped(base: ml_collections.ConfigDict, members: Sequence[Member]) -> list[Member]:
    """Members that differ only in what a population may differ in, put into populations.

    The others stay as they are. Populations are named population_0 and so on.
    Raises UserError: the base config is a population already.
    """
    if is_population(base):
        raise UserError("--vmap makes populations itself; leave out config.population")
    groups: dict[str, list[Member]] = {}
    for member in members:
        fields = dict(flatten(member.config.to_dict()))
        key = repr([value for name, value in fields.items() if name not in VARIED.values()])
        groups.setdefault(key, []).append(member)
    found: list[Member] = []
    for group in groups.values():
        if len(group) == 1 or is_population(group[0].config):
            found += group
            continue
        configs = [dict(flatten(member.config.to_dict())) for member in group]
        shared = {k: v for k, v in group[0].overrides.items() if k not in VARIED.values()}
        shared |= {field: configs[0][field] for field in VARIED.values()}
        tuples = {
            f"population.{name}": tuple(config[field] for config in configs)
            for name, field in VARIED.items()
            if any(config[field] != configs[0][field] for config in configs)
        }
        overrides = {**shared, **tuples, "population.names": tuple(member.name for member in group)}
        name = f"population_{sum(is_population(one.config) for one in found)}"
        found.append(Member(name, overrides, changed(base, overrides, name)))
    return found


def require_one_model(config: ml_collections.FrozenConfigDict, workdir: object) -> None:
    """Raises UserError where a workdir holds a population, which is no model to ask."""
    if is_population(config):
        raise UserError(
            f"{workdir} holds a population of models; give the folder of one of them, such as "
            f"{workdir}/{members_in(config)[0].name}"
        )


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


def member_batches(seeds: Sequence[int], start: int, count: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of each member's steps, int32 (P, count, batch_size); see `data.batch_indices`."""
    return np.stack([batch_indices(seed, start, count, batch_size=batch_size, size=size) for seed in seeds])


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
