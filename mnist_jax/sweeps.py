"""What a sweep is: named changes to a base config, from a file of configs/sweeps/."""

import pathlib
import re
import runpy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import ml_collections

from mnist_jax.command_line import one_line
from mnist_jax.config import RULES, differences, unknown_field, validate
from mnist_jax.errors import UserError

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
    """
    return {_name_of(setting): dict(setting) for setting in settings}


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


def members_of(base: ml_collections.ConfigDict, sweep: Sweep) -> list[Member]:
    """The members of a sweep on a base config, each checked before any is run.

    Raises UserError: a name or value that cannot be, or two members that are the same run.
    """
    if not isinstance(sweep, Mapping) or not sweep:
        raise UserError(
            "a sweep is a dict from names to changes of the config, one or more; see configs/sweeps/"
        )
    members: list[Member] = []
    for name, overrides in sweep.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a member of a sweep, which is a folder: letters, digits and .,=+-_ can"
            )
        member = Member(name, dict(overrides), changed(base, overrides, name))
        for other in members:
            if not differences(other.config.to_dict(), member.config.to_dict()):
                raise UserError(
                    f"{other.name} and {name} are the same run; take one of them out of the sweep"
                )
        members.append(member)
    return members


def changed(
    base: ml_collections.ConfigDict, overrides: Overrides, name: str
) -> ml_collections.FrozenConfigDict:
    """The base config with changes, validated; name: of the member, for mistakes.

    Raises UserError: a field that does not exist, or a value that it may not be.
    """
    fields = ml_collections.ConfigDict(base.to_dict(), type_safe=False)
    try:
        for field, value in overrides.items():
            if field not in RULES:
                raise UserError(unknown_field(field))
            # The command line, by which members are run, could not give it either.
            fields.update_from_flattened_dict({field: tuple(value) if isinstance(value, list) else value})
        return validate(fields)
    except UserError as error:
        raise UserError(f"member {name}: {error}") from error


def flags_of(overrides: Overrides) -> list[str]:
    """Changes as flags of main.py."""
    return [f"--config.{field}={value}" for field, value in overrides.items()]


def _name_of(setting: Overrides) -> str:
    parts = []
    for field, value in setting.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{field.rsplit('.', 1)[-1]}={re.sub(r'[^A-Za-z0-9_.+-]+', '_', text).strip('_')}")
    return ",".join(parts)
