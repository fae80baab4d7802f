"""Checks of a config: each field by its rule, and fields against each other."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from mnist_jax.config.fields import FIELDS, flatten, unknown_field
from mnist_jax.system.errors import UserError


def validate(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Checks every field of a config, and fields against each other.

    Returns: the config, frozen.
    Raises UserError: one line that names the field, what it is and what it may be.
    """
    fields = dict(flatten(config.to_dict()))
    for name in fields:
        if name not in FIELDS:
            raise UserError(unknown_field(name))
    for name, field in FIELDS.items():
        if name not in fields:
            raise UserError(f"config.{name} is missing; start from configs/default.py, which has every field")
        if not field.rule.accepts(fields[name]):
            raise UserError(f"config.{name} must be {field.rule.expects} (got {fields[name]!r})")
    _check_together(config)
    return ml_collections.FrozenConfigDict(config)


def from_record(fields: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config that run.json has; JSON's lists are its tuples."""

    def with_tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_tuples(entry) for key, entry in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return ml_collections.ConfigDict(with_tuples(fields))


def _check_together(config: ml_collections.ConfigDict) -> None:
    optimizer, schedule = config.optimizer, config.schedule
    if optimizer.name == "adam" and optimizer.weight_decay > 0:
        raise UserError(
            f"config.optimizer.weight_decay is {optimizer.weight_decay:g}, but adam has none; "
            "use --config.optimizer.name=adamw, or 0"
        )
    if schedule.name == "one_cycle" and schedule.warmup == 0:
        raise UserError("config.schedule.warmup is 0, but one_cycle has to rise; give it some, or use cosine")
    if schedule.name == "step" and list(schedule.boundaries) != sorted(set(schedule.boundaries)):
        raise UserError(f"config.schedule.boundaries is {tuple(schedule.boundaries)}; it has to rise")
    if len(config.data.mean) != len(config.data.std):
        raise UserError(
            f"config.data.mean has {len(config.data.mean)} entries and config.data.std "
            f"{len(config.data.std)}; they need as many as each other"
        )
