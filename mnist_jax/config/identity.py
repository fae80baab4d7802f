"""The identity of a run: which fields of the config decide whether two configs describe the same run."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mnist_jax.config.fields import FIELDS, IN_EVERY_RECORD, flatten
from mnist_jax.system.errors import UserError

_SHOWN = 4  # fields that differ, in an error
_INCIDENTAL = frozenset(name for name, field in FIELDS.items() if not field.identifies)


def _earlier_values() -> dict[str, Any]:
    """The values of the fields that are newer than the oldest records, nested."""
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if field.earlier is not IN_EVERY_RECORD:
            group, _, key = name.rpartition(".")
            (values.setdefault(group, {}) if group else values)[key] = field.earlier
    return values


_EARLIER = _earlier_values()


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a record, completed with the fields that are newer than it."""
    whole = {**_EARLIER, **config}
    for name, values in _EARLIER.items():
        if isinstance(values, dict) and isinstance(whole[name], Mapping):
            whole[name] = {**values, **whole[name]}
    return whole


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The identifying fields in which two configs differ.

    Returns:
        Dotted name -> (old, new); empty for configs of the same run.
    """
    before, after = (dict(flatten(json.loads(json.dumps(completed(config))))) for config in (old, new))
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if name not in _INCIDENTAL and before.get(name) != after.get(name)
    }


def identity(fields: Iterable[str]) -> list[str]:
    """The dotted names that identify a run: no paths, nothing of W&B."""
    return [name for name in fields if name not in _INCIDENTAL]


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The identifying fields by dotted name, without those of one machine or account."""
    return {name: value for name, value in flatten(config) if name not in _INCIDENTAL}


def same_run_key(config: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """A key that is equal for configs without `differences`; faster for many configs."""
    fields = shareable(completed(config))
    return frozenset((name, tuple(v) if isinstance(v, list) else v) for name, v in fields.items())


def require_same(old: Mapping[str, Any], new: Mapping[str, Any], where: object) -> None:
    """Refuses a config that differs from that of the run in a folder.

    Args:
        old: the config of the run.
        new: the config asked for.
        where: the folder, for the message.

    Raises:
        UserError: one line with the fields that differ.
    """
    changes = differences(old, new)
    if not changes:
        return
    telling = sorted(changes, key=lambda name: not name.endswith("name"))  # data set, model, optimizer
    shown = [
        f"config.{name} was {_shortened(changes[name][0])}, now {_shortened(changes[name][1])}"
        for name in telling[:_SHOWN]
    ]
    if more := len(changes) - len(shown):
        shown.append(f"and {more} more field{'s' if more > 1 else ''}")
    raise UserError(
        f"{where} holds a run of another config ({', '.join(shown)}); use another --workdir or --resume=force"
    )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
