"""Whether two configs are the same run."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mnist_jax.config.fields import FIELDS, default_config, flatten
from mnist_jax.system.errors import UserError

_PLACES = frozenset(name for name, field in FIELDS.items() if not field.identifies)


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a record, with the fields that came after it was written."""
    whole = default_config().to_dict()
    for key, value in config.items():
        whole[key] = {**whole.get(key, {}), **value} if isinstance(value, Mapping) else value
    return whole


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that make two configs different runs: name -> (old, new), without where things lie."""
    before, after = (dict(flatten(json.loads(json.dumps(completed(config))))) for config in (old, new))
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if name not in _PLACES and before.get(name) != after.get(name)
    }


def identity(fields: Iterable[str]) -> list[str]:
    """Of fields by dotted name those that make a run what it is: not where things lie, nor W&B's."""
    return [name for name in fields if name not in _PLACES]


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by dotted name, without where things lie on one machine and in one account."""
    return {name: value for name, value in flatten(config) if name not in _PLACES}


def same_run_key(config: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Equal for configs that are the same run, as `differences` has it; for many of them at once."""
    fields = shareable(completed(config))
    return frozenset((name, tuple(v) if isinstance(v, list) else v) for name, v in fields.items())


def require_same(old: Mapping[str, Any], new: Mapping[str, Any], where: object) -> None:
    """Raises UserError, with the fields that differ, unless two configs are the same run.

    where: the folder that holds the run of the old config.
    """
    changed = differences(old, new)
    if changed:
        told = [
            f"config.{name} was {_shortened(was)}, now {_shortened(now)}"
            for name, (was, now) in changed.items()
        ]
        fields = ", ".join(told)
        raise UserError(
            f"{where} holds a run of another config ({fields}); give another --workdir or --resume=force"
        )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
