"""optax schedules and optimizers from a config."""

from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import optax

from mnist_jax.system.errors import UserError


def create_schedule(
    config: ml_collections.FrozenConfigDict, steps_per_epoch: float, total_steps: int
) -> optax.Schedule:
    """The learning rate as a function of the number of updates, each of `config.train.accumulate` steps.

    Warm-up is linear from 0 to the peak (along a cosine for `one_cycle`, as in
    https://arxiv.org/abs/1708.07120); the rest of the run follows `config.schedule.name`.
    Raises UserError: the warm-up takes the whole run, or a boundary is in it.
    """
    schedule, peak = config.schedule, config.optimizer.learning_rate
    accumulate = config.train.accumulate
    whole = config.train.steps or max(config.train.epochs * steps_per_epoch, config.train.min_steps)
    unit = {"run": whole, "epochs": steps_per_epoch, "steps": 1}[schedule.unit] / accumulate
    warmup, total = round(schedule.warmup * unit), -(-total_steps // accumulate)
    if warmup >= total:
        raise UserError(
            f"config.schedule.warmup is {schedule.warmup:g} {schedule.unit}, {warmup * accumulate} steps, "
            f"but the run has only {total_steps}; lengthen the run, or make the warm-up a share of it with "
            "--config.schedule.unit=run --config.schedule.warmup=0.2"
        )
    rest = total - warmup
    boundaries = [round(at * unit) for at in schedule.boundaries]
    if schedule.name == "step" and boundaries[0] < warmup:
        raise UserError(
            f"config.schedule.boundaries must not be in the warm-up of {schedule.warmup:g} {schedule.unit} "
            f"(got {schedule.boundaries[0]:g}); shorten the warm-up with config.schedule.warmup"
        )
    after: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, schedule.end_factor),
        "one_cycle": lambda: optax.cosine_decay_schedule(peak, rest, schedule.end_factor),
        "linear": lambda: optax.linear_schedule(peak, peak * schedule.end_factor, rest),
        "step": lambda: optax.piecewise_constant_schedule(
            peak, _factors([at - warmup for at in boundaries], schedule.factor)
        ),
    }
    if warmup == 0:
        return after[schedule.name]()
    return optax.join_schedules([_rise(schedule.name, peak, warmup), after[schedule.name]()], [warmup])


def _factors(steps: list[int], factor: float) -> dict[int, float]:
    """The factor of the learning rate at each step; several boundaries may fall on one step."""
    return {step: factor ** steps.count(step) for step in steps}


def _rise(name: str, peak: float, steps: int) -> optax.Schedule:
    if name != "one_cycle":
        return optax.linear_schedule(0.0, peak, steps)
    fall = optax.cosine_decay_schedule(peak, steps)
    return lambda step: peak - fall(step)


def create_optimizer(
    config: ml_collections.FrozenConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """The optax chain of `config.optimizer`: gradient clipping, then the named optimizer.

    Weight decay applies to kernels only. It is decoupled in adamw, lamb, lion and muon, and added to the
    gradient in sgd and adadelta. With `config.train.accumulate` an update uses the mean gradient of that many
    steps, and only the last of them changes parameters. With `skip_nonfinite`, gradients that are not finite
    change neither parameters nor optimizer state and do not count for an update.
    """
    c = config.optimizer
    decay = {"weight_decay": c.weight_decay, "mask": _kernels}
    adam = {"b1": c.b1, "b2": c.b2, "eps": c.eps}
    optimizers: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optax.chain(
            optax.add_decayed_weights(**decay),
            optax.sgd(schedule, momentum=c.momentum, nesterov=c.nesterov),
        ),
        "adam": lambda: optax.adam(schedule, **adam),
        "adamw": lambda: optax.adamw(schedule, **adam, **decay),
        "adadelta": lambda: optax.chain(
            optax.add_decayed_weights(**decay), optax.adadelta(schedule, rho=c.rho, eps=c.eps)
        ),
        "lamb": lambda: optax.lamb(schedule, **adam, **decay),
        "lion": lambda: optax.lion(schedule, b1=c.b1, b2=c.b2, **decay),
        "muon": lambda: _muon(config, schedule),
    }
    optimizer = optimizers[c.name]()
    if c.clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(c.clip_norm), optimizer)
    if config.train.accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, config.train.accumulate).gradient_transformation()
    return optax.apply_if_finite(optimizer, c.skip_nonfinite) if c.skip_nonfinite else optimizer


def updates_taken(
    config: ml_collections.FrozenConfigDict, step: jax.Array, opt_state: optax.OptState
) -> jax.Array:
    """The number of updates in `step` steps, int32 (), which the schedule depends on."""
    if config.train.accumulate > 1:
        inner = opt_state.inner_state if config.optimizer.skip_nonfinite else opt_state
        return inner.gradient_step
    # A skipped update does not count.
    return step - opt_state.total_notfinite if config.optimizer.skip_nonfinite else step


def _muon(config: ml_collections.FrozenConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Muon for kernels, each a matrix from inputs to outputs, Adam for biases and norms, both optionally with
    Nesterov momentum.

    Updates are scaled to Adam's usual size, so that one learning rate fits both, as in
    https://arxiv.org/abs/2502.16982.
    """
    c = config.optimizer
    return optax.contrib.muon(
        schedule,
        ns_steps=c.newton_schulz,
        beta=c.momentum,
        eps=c.eps,
        weight_decay=c.weight_decay,
        weight_decay_mask=_kernels,
        nesterov=c.nesterov,
        adam_b1=c.b1,
        adam_b2=c.b2,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=0.2,
    )


def _matrices(params: Any) -> Any:
    """The input and output axes of each kernel; None for other parameters."""

    def axes(leaf: jax.Array, is_kernel: bool) -> optax.contrib.MuonDimensionNumbers | None:
        *into, out = range(leaf.ndim)
        return optax.contrib.MuonDimensionNumbers(into, out) if is_kernel else None

    return jax.tree.map(axes, params, _kernels(params))


def _kernels(params: Any) -> Any:
    """True for kernels, False for vectors: biases and the scales of norms."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
