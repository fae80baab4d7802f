"""Trains the models of a run, one or the members of a population, and predicts with them."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from mnist_jax.config.fields import flatten
from mnist_jax.config.population import VARIED
from mnist_jax.data import Dataset
from mnist_jax.data.cache import Arrays
from mnist_jax.data.feeding import Rows, make_feed, training_rows
from mnist_jax.data.normalization import normalized
from mnist_jax.data.order import BalancedOrder, Order, batch_indices, member_batches
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.system import cpu, devices
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh, place, state_shardings, whole
from mnist_jax.training import steps
from mnist_jax.training.freezing import require_some_trained
from mnist_jax.training.losses import class_weights
from mnist_jax.training.optimizers import create_optimizer, create_schedule
from mnist_jax.training.plan import make_plan
from mnist_jax.training.predictor import Predictor
from mnist_jax.training.steps import Model, State, States, TrainState
from mnist_jax.training.transfer import Taken, started_from

PyTree = Any

_EXAMPLES = 5000  # of the training split, which may initialize a model; see `airbench.patch_whitening`


class Trainer:
    """Trains P models, which differ only in numbers, see `config.population.VARIED`.

    On a CPU they take their steps in turn with the program of one model. This is faster there than `vmap`,
    whose grouped convolutions have no fast form; elsewhere `vmap` trains all at once. So `States` has P
    trees, or one whose arrays have P as their first axis.

    plan: see `training.plan`. mesh: the devices that share each batch. template: the `State` of a checkpoint,
    with `jax.ShapeDtypeStruct` instead of arrays. model: the same for the `Model` of one.
    """

    def __init__(
        self,
        configs: Sequence[ml_collections.FrozenConfigDict],
        dataset: Dataset,
        *,
        together: bool | None = None,
    ):
        """Builds the models.

        Args:
          configs: of each model, P of them.
          dataset: the data set to train on.
          together: whether `vmap` trains P > 1 models; None for the faster way on this machine.

        Raises:
          UserError: the schedule does not fit the length of the run, the batch does not fit the devices, a
            distance in pixels of `config.augment` or `config.evaluation` does not fit the images,
            `config.train.class_weights` does not fit the classes, or `config.train.freeze` the parameters.
        """
        configs = [normalized(one, dataset.mean, dataset.std) for one in configs]
        config = configs[0]
        _require_within(config, dataset.image_shape)
        self._configs, self._dataset = configs, dataset
        self.mesh = make_mesh(config)
        self.plan = make_plan(config, len(dataset.train.labels))
        self._together = len(configs) > 1 and (not cpu.active() if together is None else together)
        self._varied = _varied(configs)
        if self._together:
            self._varied = [jax.tree.map(lambda *values: np.stack(values), *self._varied)]
        optimizer, _ = self._optimizer(config)
        self._create = steps.make_create_state(config, len(dataset.class_names), optimizer)
        graph, alone = jax.eval_shape(self._create, jax.random.key(0), self._examples)
        require_some_trained(config.train.freeze, alone.params)
        self.model = alone.model
        self.template = self._abstract(alone, (len(configs),) if len(configs) > 1 else ())
        self._like = self._abstract(alone, (len(configs),) if self._together else ()).train
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self._like)
        self._chunk = steps.compiled(self._train_chunk(graph), self.mesh, shardings)
        self._predict = Predictor(config, graph, len(dataset.class_names), self.mesh)

    @property
    def parameters(self) -> int:
        """The number of parameters of all models."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.template.train.params))

    def initial(self, taken: Taken | None = None) -> States:
        """The state before the first step, with the arrays `taken` from another model."""
        states = [self._create(jax.random.key(one.seed), self._examples)[1] for one in self._configs]
        if taken:
            states = [started_from(one, taken) for one in states]
        if self._together:
            states = [jax.tree.map(lambda *leaves: np.stack(leaves), *states)]
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self._like)
        return States(
            tuple(place(one, shardings) for one in states),
            tuple(place(one.model, shardings.model) for one in states),
        )

    def batches(self, step: int) -> Iterator[tuple[int, tuple[Rows, ...]]]:
        """Yields the last step of each chunk, and its rows, from the step after `step` on."""
        config = self._configs[0]
        order = functools.partial(
            member_batches,
            self._order,
            [one.seed for one in self._configs],
            batch_size=config.train.batch_size,
        )
        chunks = self.plan.chunks(step, devices.steps_per_call(config.train.steps_per_call))
        return training_rows(self._rows, chunks, order)

    def step(self, state: States, rows: tuple[Rows, ...]) -> tuple[States, list[Mapping[str, jax.Array]]]:
        """Takes the steps of a chunk and donates the training state.

        Returns: the state, and metrics float32, (P, S) in total, one part for each tree of the state.
        """
        done = [self._chunk(*each) for each in zip(state.train, rows, self._varied, strict=True)]
        return state._replace(train=tuple(train for train, _ in done)), [metrics for _, metrics in done]

    def keep_best(self, state: States, better: Sequence[bool]) -> States:
        """Takes the models as they are for the best of those that got better, P of them."""
        if self._together:
            best = _choose(state.best[0], state.train[0].model, np.array(better)) if any(better) else None
            return state._replace(best=(best,)) if best else state
        models = zip(better, state.train, state.best, strict=True)
        return state._replace(best=tuple(_copy(of.model) if now else best for now, of, best in models))

    def predict(self, split: Arrays, models: Sequence[Model]) -> list[Predictions]:
        """The predictions of each of the P models for every example of a split, in order.

        models: `state.best`, or the `model` of each of `state.train`.
        """
        if self._together:
            models = [_member(models[0], index) for index in range(len(self._configs))]
        return [self._predict(split, model) for model in models]

    def compile_prediction(self) -> None:
        """Compiles what `predict` needs, which can be done while the first steps run."""
        if not self._together:
            self._predict.compile(self._dataset.validation, self._like.model)

    def members(self, state: States) -> list[State]:
        """The states of the single models."""
        if not self._together:
            return [State(*one) for one in zip(state.train, state.best, strict=True)]
        return [_member(State(state.train[0], state.best[0]), k) for k in range(len(self._configs))]

    def packed(self, state: States) -> State:
        """The form in a checkpoint, on any machine: arrays of one model, or of P with P as first axis."""
        if len(state.train) == 1:
            return State(state.train[0], state.best[0])
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.members(state))
        return jax.device_put(stacked, self._shardings(stacked))

    def unpacked(self, packed: State) -> States:
        """The state from the result of `packed`."""
        if self._together or len(self._configs) == 1:
            return States((packed.train,), (packed.best,))
        alone = [_member(packed, index) for index in range(len(self._configs))]
        return States(tuple(one.train for one in alone), tuple(one.best for one in alone))

    def readable(self, tree: PyTree) -> PyTree:
        """Gathers arrays that may be sharded over devices, so that this process can read them whole."""
        return whole(tree, self.mesh)

    def lowered(self) -> tuple[jax.stages.Lowered, int]:
        """The program of one step, and how often it runs for a step of all models."""
        batch = np.zeros((len(self._configs), 1, self._configs[0].train.batch_size), np.int32)
        program = self._chunk.lower(self._like, self._rows(batch)[0], self._varied[0])
        return program, len(self._varied)

    def _rows(self, indices: np.ndarray) -> tuple[Rows, ...]:
        """Rows for each tree of the state from indices (P, S, B)."""
        return (self._feed(indices),) if self._together else tuple(map(self._feed, indices))

    @functools.cached_property
    def _order(self) -> Order:
        labels = self._dataset.train.labels
        if self._configs[0].train.balance == "sampling":
            return BalancedOrder(labels).batches
        return functools.partial(batch_indices, size=len(labels))

    @functools.cached_property
    def _feed(self) -> Callable[[np.ndarray], Rows]:
        return make_feed(self._dataset.train, self._configs[0].data.placement, self.mesh)

    @property
    def _examples(self) -> np.ndarray:
        return self._dataset.train.images[:_EXAMPLES]

    def _shardings(self, state: PyTree) -> PyTree:
        return state_shardings(self.mesh, state, shard_params=self._configs[0].mesh.shard_params)

    def _abstract(self, alone: TrainState, leading: tuple[int, ...]) -> State:
        """A state with further leading axes and its shardings; `jax.ShapeDtypeStruct` throughout."""
        train = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype), alone)
        state = State(train, train.model)
        return jax.tree.map(
            lambda leaf, sharding: leaf.update(sharding=sharding), state, self._shardings(state)
        )

    def _optimizer(self, config: Any) -> tuple[Any, Any]:
        schedule = create_schedule(config, self.plan.steps_per_epoch, self.plan.total_steps)
        return create_optimizer(config, schedule), schedule

    def _train_chunk(self, graph: Any) -> Callable[..., Any]:
        config = self._configs[0]
        labels, classes = self._dataset.train.labels, len(self._dataset.class_names)
        weights = class_weights(config, labels, classes)

        def chunk(state: TrainState, rows: Rows, varied: Mapping[str, Any]) -> Any:
            own = _with(config, varied) if varied else config
            return steps.make_train_chunk(own, graph, *self._optimizer(own), weights)(state, rows)

        def one(state: TrainState, rows: Rows, varied: Mapping[str, Any]) -> Any:
            state, metrics = chunk(state, rows, varied)
            return state, jax.tree.map(lambda values: values[None], metrics)

        def all_at_once(state: TrainState, rows: Rows, varied: Mapping[str, Any]) -> Any:
            axes: Any = (None, None, 0) if rows.indices is not None else (0, 0, None)
            return jax.vmap(chunk, in_axes=(0, Rows(*axes), 0))(state, rows, varied)

        return all_at_once if self._together else one


def _varied(configs: Sequence[ml_collections.FrozenConfigDict]) -> list[dict[str, Any]]:
    """The numbers of each model, by field, in which the models differ: arguments of their shared program."""
    fields = [dict(flatten(config.to_dict())) for config in configs]
    names = [
        name
        for name in VARIED.values()
        if name != "seed" and any(one[name] != fields[0][name] for one in fields)
    ]
    return [{name: np.float32(one[name]) for name in names} for one in fields]


def _with(config: ml_collections.FrozenConfigDict, varied: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config with fields that are traced values."""
    loose = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    loose.update_from_flattened_dict(dict(varied))
    return loose


@jax.jit
def _member(tree: PyTree, index: int) -> PyTree:
    """The tree of one model from a tree whose arrays have models as their first axis."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


@functools.partial(jax.jit, donate_argnums=0)
def _choose(old: Model, new: Model, better: jax.Array) -> Model:
    """The new models, whose arrays have P as their first axis, where they are better, bool (P,)."""
    return jax.tree.map(
        lambda was, now: jnp.where(better.reshape(-1, *(1,) * (now.ndim - 1)), now, was), old, new
    )


def _copy(model: Model) -> Model:
    """Arrays of their own: those of the training state are donated to the next step."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, leaf.sharding, may_alias=False), model)


def _require_within(config: ml_collections.FrozenConfigDict, image_shape: tuple[int, int, int]) -> None:
    """Raises UserError: a distance in pixels leaves nothing of such images to see or to reflect."""
    height, width, _ = image_shape
    for name in ("augment.crop", "augment.shift", "augment.cutout", "evaluation.shift"):
        group, _, field = name.partition(".")
        if (pixels := config[group][field]) >= min(height, width):
            raise UserError(
                f"config.{name} must be less than the shorter side of the images, which are {height} x "
                f"{width} pixels (got {pixels:g})"
            )
