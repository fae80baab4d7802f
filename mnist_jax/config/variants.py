"""What a sweep is: named changes to a base config, from a file of configs/sweeps/."""

import pathlib
import re
import runpy
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from mnist_jax.config.fields import FIELDS, unknown_field
from mnist_jax.config.identity import same_run_key
from mnist_jax.config.validation import validate
from mnist_jax.system.errors import UserError, one_line

Overrides = Mapping[str, Any]  # field, such as "train.batch_size" -> value
Sweep = Mapping[str, Overrides]  # by the member's name

_NAME = re.compile(r"[A-Za-z0-9_][\w.,=+-]{0,150}")  # of a folder, on every system


class Member(NamedTuple):
    """One run of a sweep. overrides: what it changes of the base config; config: with them, validated."""

    name: str
    overrides: dict[str, Any]
    config: ml_collections.FrozenConfigDict


def named(settings: Iterable[Overrides]) -> Sweep:
    """Settings named by what they are, such as "learning_rate=0.1,batch_size=64".

    For what scikit-learn makes: `ParameterGrid` all combinations, `ParameterSampler` random ones.
    Raises UserError: two settings come to one name.
    """
    sweep: dict[str, Overrides] = {}
    for setting in settings:
        if (name := _name_of(setting)) in sweep:
            raise UserError(f"two settings of the sweep come to the name {name!r}; name them yourself")
        sweep[name] = dict(setting)
    return sweep


def over_seeds(sweep: Sweep, seeds: Iterable[int]) -> Sweep:
    """Every member with each of the seeds, the seeds outermost: a sweep cut short has all settings."""
    return {
        f"{name}-seed_{seed}": {**overrides, "seed": seed}
        for seed in seeds
        for name, overrides in sweep.items()
    }


def load_file(path: str, function: str) -> Any:
    """A function of a Python file, such as `get_sweep` of those in configs/sweeps/.

    Raises UserError: the file is not there, cannot be run, or lacks the function.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"--sweep={path}: there is no such file; those here are in configs/sweeps/")
    try:
        return runpy.run_path(path)[function]
    except KeyError:
        raise UserError(f"--sweep={path}: it has no function {function}()") from None
    except Exception as error:  # it is code, so it can raise anything
        raise UserError(f"--sweep={path}: {one_line(error)}") from error


def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a sweep's file returns.

    Raises UserError: it raised whatever code can raise.
    """
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{function.__name__}() of the sweep's file: {one_line(error)}") from error


def members_of(base: ml_collections.ConfigDict, sweep: Sweep) -> list[Member]:
    """The members of a sweep on a base config, each checked before any is run.

    Raises UserError: a name or value that cannot be, or two members that are the same run.
    """
    if not isinstance(sweep, Mapping) or not sweep:
        raise UserError(
            "a sweep is a dict from names to changes of the config, one or more; see configs/sweeps/"
        )
    members: dict[Hashable, Member] = {}  # by what makes each of them a run of its own
    for name, overrides in sweep.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a member of a sweep, which is a folder: letters, digits and .,=+-_ can"
            )
        config = changed(base, overrides, name)
        same = members.setdefault(same_run_key(config.to_dict()), Member(name, dict(overrides), config))
        if same.name != name:
            raise UserError(f"{same.name} and {name} are the same run; take one of them out of the sweep")
    return list(members.values())


def changed(
    base: ml_collections.ConfigDict, overrides: Overrides, name: str
) -> ml_collections.FrozenConfigDict:
    """The base config with changes, validated; name: of the member, for mistakes.

    Raises UserError: a field that does not exist, or a value that it may not be.
    """
    fields = ml_collections.ConfigDict(base.to_dict(), type_safe=False)
    try:
        if not isinstance(overrides, Mapping):
            raise UserError(f"its changes are {overrides!r}, not a dict from fields to values")
        for field, value in overrides.items():
            if field not in FIELDS:
                raise UserError(unknown_field(field))
            fields.update_from_flattened_dict({field: _plain(value)})
        return validate(fields)
    except UserError as error:
        raise UserError(f"member {name}: {error}") from error


def flags_of(overrides: Overrides) -> list[str]:
    """Changes as flags of `mnist-jax train`."""
    return [f"--config.{field}={_plain(value)}" for field, value in overrides.items()]


def _plain(value: Any) -> Any:
    """A value as the command line can give it: tuples for lists, Python's numbers for numpy's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _name_of(setting: Overrides) -> str:
    parts = []
    for field, value in setting.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{field.rsplit('.', 1)[-1]}={re.sub(r'[^A-Za-z0-9_.+-]+', '_', text).strip('_')}")
    return ",".join(parts)
