"""The validation of a config: each field by its rule, and fields against each other."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from mnist_jax.config.fields import FIELDS, flatten, unknown_field
from mnist_jax.system.errors import UserError


def validate(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Checks every field of a config, and fields against each other.

    Returns:
        The config, frozen.

    Raises:
        UserError: one line with the field, its rule, and its value.
    """
    fields = dict(flatten(config.to_dict()))
    for name in fields:
        if name not in FIELDS:
            raise UserError(unknown_field(name))
    for name, field in FIELDS.items():
        if name not in fields:
            raise UserError(f"config.{name} must be in the config (got none); start from configs/default.py")
        if not field.rule.accepts(fields[name]):
            raise UserError(bad_value(name, fields[name]))
    _check_together(config)
    return ml_collections.FrozenConfigDict(config)


def bad_value(name: str, value: Any) -> str:
    """One line about a value that breaks its field's rule."""
    rule = FIELDS[name].rule
    entries = value if isinstance(value, tuple) else (value,)
    beyond = rule.below is not None and any(isinstance(one, int) and one >= rule.below for one in entries)
    limit = f" and less than {rule.below}" if beyond else ""
    return f"config.{name} must be {rule.expects}{limit} (got {value!r})"


def from_record(fields: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config of a run.json as a ConfigDict, with tuples for JSON's lists."""

    def with_tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_tuples(entry) for key, entry in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return ml_collections.ConfigDict(with_tuples(fields))


def _check_together(config: ml_collections.ConfigDict) -> None:
    data, optimizer, schedule = config.data, config.optimizer, config.schedule
    if config.train.class_weights and config.train.balance == "loss":
        raise UserError(
            f"config.train.class_weights must be () with config.train.balance=loss (got "
            f"{tuple(config.train.class_weights)}); choose one of the two"
        )
    if optimizer.name == "adam" and optimizer.weight_decay > 0:
        raise UserError(
            f"config.optimizer.weight_decay must be 0 with adam (got {optimizer.weight_decay:g}); "
            "for weight decay use --config.optimizer.name=adamw"
        )
    if schedule.name == "one_cycle" and schedule.warmup == 0:
        raise UserError(
            "config.schedule.warmup must be greater than 0 with one_cycle (got 0); "
            "for no warmup use --config.schedule.name=cosine"
        )
    if schedule.unit == "run" and schedule.warmup >= 1:
        raise UserError(
            f"config.schedule.warmup must be a fraction of the run, less than 1 (got {schedule.warmup:g}); "
            "for epochs use --config.schedule.unit=epochs"
        )
    if schedule.name == "step" and list(schedule.boundaries) != sorted(set(schedule.boundaries)):
        raise UserError(f"config.schedule.boundaries must increase (got {tuple(schedule.boundaries)})")
    if data.folds == 1 or data.fold >= max(data.folds, 1):
        raise UserError(
            f"config.data.fold must be less than config.data.folds, which must be 0 or at least 2 (got "
            f"{data.fold} and {data.folds})"
        )
    if config.train.steps % config.train.accumulate:
        raise UserError(
            f"config.train.steps must be a multiple of config.train.accumulate, {config.train.accumulate} "
            f"(got {config.train.steps}), so that every step is part of an update"
        )
    if len(data.mean) != len(data.std):
        raise UserError(
            "config.data.mean and config.data.std must have the same number of entries "
            f"(got {len(data.mean)} and {len(data.std)})"
        )
