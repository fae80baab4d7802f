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

_NAME = re.compile(r"[A-Za-z0-9_][\w.,=+-]*")  # of a folder, on every system
_LONGEST = 151  # bytes


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: also the name of its folder.
        overrides: its changes of the base config.
        config: the base config with these changes, validated.
    """

    name: str
    overrides: dict[str, Any]
    config: ml_collections.FrozenConfigDict


def named(settings: Iterable[Overrides]) -> Sweep:
    """Names settings by their values, such as "learning_rate=0.1,batch_size=64".

    For settings from scikit-learn: `ParameterGrid` has all combinations, `ParameterSampler` random ones.

    Raises:
        UserError: two settings have the same name.
    """
    sweep: dict[str, Overrides] = {}
    for setting in settings:
        if (name := _name_of(setting)) in sweep:
            raise UserError(f"two settings of the sweep come to the name {name!r}; name them yourself")
        sweep[name] = dict(setting)
    return sweep


def over_seeds(sweep: Sweep, seeds: Iterable[int]) -> Sweep:
    """Every member with each seed. Seeds are outermost: an interrupted sweep has run all settings."""
    return {
        f"{name}-seed_{seed}": {**overrides, "seed": seed}
        for seed in seeds
        for name, overrides in sweep.items()
    }


def over_folds(sweep: Sweep, folds: int, seed: int = 0) -> Sweep:
    """Every member with each fold of a cross-validation. Folds are outermost, as seeds are.

    Args:
        sweep: the members.
        folds: parts of the training and validation examples; each validates once.
        seed: of which examples are in which fold.
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
    except Exception as error:  # it is code, so it can raise anything
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
        UserError: a name is no folder name or taken, a config is not valid, or two members are the same run.
    """
    if not isinstance(sweep, Mapping) or not sweep:
        raise UserError(
            "a sweep is a dict from one or more names to changes of the config; see configs/sweeps/"
        )
    members: dict[Hashable, Member] = {}  # by what makes each of them a run of its own
    folders: dict[str, str] = {}  # by what file systems may take for the same
    for name, overrides in sweep.items():
        _require_folder_name(name)
        if (other := folders.setdefault(unicodedata.normalize("NFC", name).casefold(), name)) != name:
            raise UserError(
                f"{other} and {name} are the same folder on some file systems; rename one of them"
            )
        config = changed(base, overrides, name)
        same = members.setdefault(same_run_key(config.to_dict()), Member(name, dict(overrides), config))
        if same.name != name:
            raise UserError(f"{same.name} and {name} are the same run; remove one of them from the sweep")
    return list(members.values())


def _require_folder_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(os.fsencode(name)) > _LONGEST:
        raise UserError(
            f"{name!r} cannot name a member and its folder; use at most {_LONGEST} letters, digits and .,=+-_"
        )
    if is_reserved(name):
        raise UserError(f"a member must have a name that no file of a workdir has (got {name!r}); rename it")


def changed(
    base: ml_collections.ConfigDict, overrides: Overrides, name: str
) -> ml_collections.FrozenConfigDict:
    """Applies changes to a base config and validates the result.

    Args:
        base: the config to change; it stays as it is.
        overrides: dotted name of a field -> its new value.
        name: the member's name, for error messages.

    Raises:
        UserError: a field does not exist, or its value is not valid.
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
    """A value with tuples for lists, and Python's numbers for NumPy's, as the command line gives them."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _name_of(setting: Overrides) -> str:
    parts = []
    for field, value in setting.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{field.rsplit('.', 1)[-1]}={re.sub(r'[^A-Za-z0-9_.+-]+', '_', text).strip('_')}")
    return ",".join(parts)
