"""Sweeps: named changes of a base config, from a file such as those of configs/sweeps/."""

import os
import pathlib
import re
import runpy
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from mnist_jax.config.fields import FIELDS, unknown_field
from mnist_jax.config.identity import same_run_key
from mnist_jax.config.validation import validate
from mnist_jax.system.errors import UserError, one_line
from mnist_jax.system.names import is_reserved

Overrides = Mapping[str, Any]  # field, such as "train.batch_size" -> value
Sweep = Mapping[str, Overrides]  # name of a member -> its changes

_NAME = re.compile(r"[A-Za-z0-9_][\w.,=+-]*")  # a folder name on every system
_LONGEST = 151  # bytes


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: its name, which is also that of its folder.
        overrides: its changes of the base config.
        config: the base config with these changes, validated.
    """

    name: str
    overrides: dict[str, Any]
    config: ml_collections.FrozenConfigDict


def named(settings: Iterable[Overrides]) -> Sweep:
    """Names settings by their values, such as "learning_rate=0.1,batch_size=64".

    scikit-learn makes such settings: `ParameterGrid` all combinations, `ParameterSampler` random ones.

    Raises:
        UserError: two settings have the same name.
    """
    sweep: dict[str, Overrides] = {}
    for setting in settings:
        if (name := _name_of(setting)) in sweep:
            raise UserError(
                f"the settings of a sweep must have different names (got {name!r} twice); name them"
            )
        sweep[name] = dict(setting)
    return sweep


def over_seeds(sweep: Sweep, seeds: Iterable[int]) -> Sweep:
    """Every member with each seed; all settings run with the first seed before the second."""
    return {
        f"{name}-seed_{seed}": {**overrides, "seed": seed}
        for seed in seeds
        for name, overrides in sweep.items()
    }


def over_folds(sweep: Sweep, folds: int, seed: int = 0) -> Sweep:
    """Every member with each fold of a cross-validation; all run with the first fold before the second.

    Args:
        sweep: the members.
        folds: the number of parts of the training and validation examples; each validates once.
        seed: of the assignment of examples to folds.
    """
    fields = {"data.folds": folds, "data.fold_seed": seed}
    return {
        f"{name}-fold_{fold}": {**overrides, **fields, "data.fold": fold}
        for fold in range(folds)
        for name, overrides in sweep.items()
    }


def load_file(path: str, function: str) -> Any:
    """Loads a function from a Python file, such as `get_sweep` from one of configs/sweeps/.

    Raises:
        UserError: the file does not exist, raises an exception, or lacks the function.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"--sweep={path} must be a file; those of this program are in configs/sweeps/")
    try:
        found = runpy.run_path(path)
    except Exception as error:  # code can raise anything
        raise UserError(f"--sweep={path}: {one_line(error)}") from error
    if function in found:
        return found[function]
    hint = "; for its suggest(trial) add --search=optuna" if "suggest" in found else ""
    raise UserError(f"--sweep={path} must have a function {function}(){hint}")


def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of a sweep's file and returns its result.

    Raises:
        UserError: the function raised an exception.
    """
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{function.__name__}() of the sweep's file: {one_line(error)}") from error


def members_of(base: ml_collections.ConfigDict, sweep: Sweep) -> list[Member]:
    """Makes the members of a sweep, and validates all of them before any runs.

    Raises:
        UserError: a name is not a folder name or is taken, a config is not valid, or two members are the same
            run.
    """
    if not isinstance(sweep, Mapping) or not sweep:
        raise UserError(
            "get_sweep() must return a dict from names to changes of the config, with a member or more; see "
            "configs/sweeps/"
        )
    members: dict[Hashable, Member] = {}  # by the identity of its run
    folders: dict[str, str] = {}  # by the name that file systems can take for the same
    for name, overrides in sweep.items():
        _require_folder_name(name)
        if (other := folders.setdefault(unicodedata.normalize("NFC", name).casefold(), name)) != name:
            raise UserError(
                f"the members {other} and {name} must differ in more than case; rename one of them"
            )
        config = changed(base, overrides, name)
        same = members.setdefault(same_run_key(config.to_dict()), Member(name, dict(overrides), config))
        if same.name != name:
            raise UserError(f"the members {same.name} and {name} must be different runs; remove one of them")
    return list(members.values())


def _require_folder_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(os.fsencode(name)) > _LONGEST:
        raise UserError(
            f"the name of a member must be at most {_LONGEST} letters, digits and .,=+-_ (got {name!r})"
        )
    if is_reserved(name):
        raise UserError(
            f"the name of a member must not be that of a file in a workdir (got {name!r}); rename it"
        )


def changed(
    base: ml_collections.ConfigDict, overrides: Overrides, name: str
) -> ml_collections.FrozenConfigDict:
    """Applies changes to a base config and validates the result.

    Args:
        base: the config; it does not change.
        overrides: dotted name of a field -> its new value.
        name: the member's name, for error messages.

    Raises:
        UserError: a field does not exist, or its value is not valid.
    """
    fields = ml_collections.ConfigDict(base.to_dict(), type_safe=False)
    try:
        if not isinstance(overrides, Mapping):
            raise UserError(f"its changes must be a dict from fields to values (got {overrides!r})")
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
    """A value as the command line gives it: tuples for lists, and Python's numbers for NumPy's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _name_of(setting: Overrides) -> str:
    parts = []
    for field, value in setting.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{field.rsplit('.', 1)[-1]}={re.sub(r'[^A-Za-z0-9_.+-]+', '_', text).strip('_')}")
    return ",".join(parts)
