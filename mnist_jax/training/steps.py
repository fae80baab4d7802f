"""Programs of the device: the state of a training run, its step, and the forward pass of evaluation."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh

from mnist_jax.data.augment import augment, views
from mnist_jax.data.feeding import Rows
from mnist_jax.data.mixing import mix
from mnist_jax.data.pixels import normalize, to_float
from mnist_jax.models import Graph, apply_model, create_model
from mnist_jax.system import devices
from mnist_jax.system.mesh import replicated
from mnist_jax.training.freezing import where_frozen
from mnist_jax.training.losses import batch_loss
from mnist_jax.training.optimizers import updates_taken

PyTree = Any


class TrainState(NamedTuple):
    """Everything that a step reads and writes.

    step: int32 scalar, steps taken so far. key: raw PRNG key, uint32; a step's randomness is
    `fold_in(key, step)`, so it never changes. params, ema: nested dicts of float32 arrays; ema is an empty
    dict if the config has none. model_state: running statistics of batch norm.
    """

    step: jax.Array
    key: jax.Array
    params: PyTree
    model_state: PyTree
    opt_state: optax.OptState
    ema: PyTree

    @property
    def model(self) -> "Model":
        """The parameters for evaluation: the moving average if there is one."""
        return Model(self.step, self.ema or self.params, self.model_state)


class Model(NamedTuple):
    """A trained model: parameters and model state, nested dicts of float32 arrays, after `step` steps."""

    step: jax.Array
    params: PyTree
    model_state: PyTree


class State(NamedTuple):
    """The content of a checkpoint. best: the model with the best validation; step 0 before the first."""

    train: TrainState
    best: Model


class States(NamedTuple):
    """The states of the models that a `Trainer` trains."""

    train: tuple[TrainState, ...]
    best: tuple[Model, ...]


def make_create_state(
    config: ml_collections.FrozenConfigDict, num_classes: int, optimizer: optax.GradientTransformation
) -> Callable[[jax.Array, np.ndarray], tuple[Graph, TrainState]]:
    """A jitted `(key, images) -> (graph, state)`: the state before the first step.

    key: of the run's seed. images: uint8 (N, H, W, C) of the training split, which may initialize a model.
    """

    def create(key: jax.Array, images: jax.Array) -> tuple[Graph, TrainState]:
        init_key, key = jax.random.split(key)
        graph, params, model_state = create_model(config, images, num_classes, init_key)
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            key=jax.random.key_data(key),
            params=params,
            model_state=model_state,
            opt_state=optimizer.init(params),
            ema=params if config.train.ema_decay else {},
        )
        return graph, state

    return jax.jit(create, compiler_options=devices.options_of_what_runs_once())


def make_train_chunk(
    config: ml_collections.FrozenConfigDict,
    graph: Graph,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    class_weights: np.ndarray | None = None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """`(state, rows) -> (state, metrics)` that takes one or more steps, to be jitted.

    class_weights: see `losses.class_weights`.
    rows: `feeding.Rows` of shape (S, B), the examples of S batches.
    metrics: float32 (S,) each: loss, accuracy, learning_rate, grad_norm.
    """

    def step(state: TrainState, rows: Rows) -> tuple[TrainState, dict[str, jax.Array]]:
        augment_key, dropout_key = jax.random.split(
            jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        )
        images, batch_labels = rows.examples()
        pixels = augment(augment_key, to_float(images), config.augment)
        pixels, own_shares = mix(augment_key, pixels, config.augment)
        batch = normalize(pixels, config)

        def loss_fn(params: PyTree) -> tuple[jax.Array, tuple[jax.Array, PyTree]]:
            params = where_frozen(config.train.freeze, jax.lax.stop_gradient(params), params)
            logits, model_state = apply_model(
                graph,
                params,
                state.model_state,
                batch,
                train=True,
                dropout=config.model.dropout,
                key=dropout_key,
            )
            smoothing = config.train.label_smoothing
            loss = batch_loss(logits, batch_labels, own_shares, smoothing, class_weights)
            return loss, (logits, model_state)

        (loss, (logits, model_state)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params = where_frozen(config.train.freeze, state.params, params)
        metrics = {
            "loss": loss,
            "accuracy": (logits.argmax(-1) == batch_labels).mean(dtype=jnp.float32),
            "learning_rate": jnp.asarray(
                schedule(updates_taken(config, state.step, state.opt_state)), jnp.float32
            ),
            "grad_norm": optax.tree.norm(grads),
        }
        if config.optimizer.skip_nonfinite:  # batch-norm statistics stay unchanged too
            model_state = jax.tree.map(
                functools.partial(jnp.where, opt_state.last_finite), model_state, state.model_state
            )
            metrics["nonfinite"] = opt_state.notfinite_count
        else:
            finite = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
            metrics["nonfinite"] = 1 - finite.astype(jnp.int32)
        return state._replace(
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema=_update_ema(config, state, params, opt_state),
        ), metrics

    def train_chunk(state: TrainState, rows: Rows) -> tuple[TrainState, dict[str, jax.Array]]:
        def step_on(
            state: TrainState, given: dict[str, jax.Array]
        ) -> tuple[TrainState, dict[str, jax.Array]]:
            return step(state, rows._replace(**given))

        of_steps = {"images": rows.images, "labels": rows.labels}
        if rows.indices is not None:
            of_steps = {"indices": rows.indices}
        if len(next(iter(of_steps.values()))) == 1:  # no scan: it makes convolutions 20 times slower on CPU
            state, metrics = step_on(state, {name: of_one[0] for name, of_one in of_steps.items()})
            return state, jax.tree.map(lambda value: value[None], metrics)
        return jax.lax.scan(step_on, state, of_steps)

    return train_chunk


def compiled(train_chunk: Callable[..., Any], mesh: Mesh, shardings: PyTree) -> jax.stages.Wrapped:
    """A chunk of steps as one program for all devices, which donates its state.

    shardings: of the state; metrics are replicated on each device.
    """
    return jax.jit(
        train_chunk,
        donate_argnums=0,
        out_shardings=(shardings, replicated(mesh)),
        compiler_options=devices.compiler_options(),
    )


def make_classify(config: ml_collections.FrozenConfigDict, graph: Graph) -> Callable[..., jax.Array]:
    """`(params, model_state, images) -> log-probabilities`, to be traced.

    images: uint8 (B, H, W, C); log-probabilities: float32 (B, K). If `config.evaluation`
    has several views of an image, their probabilities are averaged.
    """

    def log_probabilities_of(params: PyTree, model_state: PyTree, batch: jax.Array) -> jax.Array:
        logits, _ = apply_model(graph, params, model_state, batch, train=False)
        return jax.nn.log_softmax(logits)

    def classify(params: PyTree, model_state: PyTree, images: jax.Array) -> jax.Array:
        looks = views(to_float(images), config.evaluation)
        each = [log_probabilities_of(params, model_state, normalize(look, config)) for look in looks]
        return jax.nn.logsumexp(jnp.stack(each), axis=0) - jnp.log(len(each))

    return classify


def make_predict(config: ml_collections.FrozenConfigDict, graph: Graph, mesh: Mesh) -> jax.stages.Wrapped:
    """A jitted `(params, model_state, confusion, rows, counted) -> (confusion, log-probabilities)`.

    confusion: int32 (K, K), to which the predictions are added; donated. rows: `feeding.Rows` of shape (B,).
    counted: bool (B,), which of them the matrix counts. log-probabilities: float32 (B, K). Both are
    replicated on each device.
    """

    classify = make_classify(config, graph)

    def predict(
        params: PyTree, model_state: PyTree, confusion: jax.Array, rows: Rows, counted: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        images, labels = rows.examples()
        log_probabilities = classify(params, model_state, images)
        cells = labels, log_probabilities.argmax(-1)
        return confusion.at[cells].add(counted.astype(confusion.dtype)), log_probabilities

    return jax.jit(
        predict,
        donate_argnums=2,
        out_shardings=replicated(mesh),
        compiler_options=devices.compiler_options(),
    )


def _update_ema(
    config: ml_collections.FrozenConfigDict, state: TrainState, params: PyTree, opt_state: optax.OptState
) -> PyTree:
    """Updates the moving average; it starts with a short memory, to forget the initial parameters.

    (1 + update) / (10 + update) as in TensorFlow's ExponentialMovingAverage(num_updates=update).
    """
    if not state.ema:
        return state.ema
    before = state.step
    weight: jax.Array | float = 1.0
    if config.train.accumulate > 1:
        before = updates_taken(config, state.step, state.opt_state)
        weight = updates_taken(config, state.step, opt_state) - before  # 1 where this step ends an update
    count = before.astype(jnp.float32)
    decay = jnp.minimum(config.train.ema_decay, (1 + count) / (10 + count))
    moved = optax.incremental_update(params, state.ema, (1 - decay) * weight)
    return where_frozen(config.train.freeze, params, moved)
