"""`--config=CONFIG`, a config by name or by file, and `--config.FIELD=VALUE`, which changes a field."""

import difflib
import importlib
import pathlib
import re
import sys
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from mnist_jax.config.fields import FIELDS, unknown_field
from mnist_jax.config.validation import bad_value
from mnist_jax.system import installation
from mnist_jax.system.errors import UserError, one_line
from mnist_jax.system.files import user_path

_FLAG = re.compile(r"--?config(?:=(.*))?$", re.DOTALL)
_FIELD = re.compile(r"--?(?:no)?config\.([^=]*)")


class Config(NamedTuple):
    """A config from the command line.

    Attributes:
        name: Its name or file, as given.
        fields: All its fields, changed as the command line says.
        changes: What the command line changes, by dotted name.
    """

    name: str
    fields: ml_collections.ConfigDict
    changes: dict[str, Any]


def get_config(name: str = "default") -> ml_collections.ConfigDict:
    """A config to change and to train.

    Args:
        name: Of a config that comes with the program, such as "digits", or the path of a Python file.

    Raises:
        UserError: There is none.
    """
    return read([f"--config={name}"])[0].fields


def read(argv: list[str]) -> tuple[Config, list[str]]:
    """Reads the config from the command line.

    Args:
        argv: Flags and arguments, with `--config` among them.

    Returns:
        The config, and the flags and arguments that are not of it.

    Raises:
        UserError: No such config or field, a file that cannot be run, or a value that a field cannot have.
    """
    name = _name(argv)
    path, _, parameter = name.partition(":")
    file = str(find(path, "--config"))
    _check_fields(argv)
    _make_configs_importable()
    argv = ["", *_with_file(argv, f"{file}:{parameter}" if parameter else file)]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", sys_argv=argv, flag_values=values)
    values.set_gnu_getopt(True)
    try:
        _, *rest = values(argv, known_only=True)
        values.config.to_dict()  # a file that could not be read raises here
    except flags.Error as error:
        raise UserError(_bad_value(str(error), file)) from error
    except Exception as error:  # a config is code, so it can raise anything
        raise UserError(f"--config={name}: {_config_error(error)}") from error
    return Config(name, values.config, config_flags.get_override_values(values["config"])), rest


def find(name: str, flag: str, folder: str = "") -> pathlib.Path:
    """The file of a config or sweep.

    Args:
        name: A name, such as `digits`, of those that come with the program; or a path.
        flag: That gives it, for errors.
        folder: Of the configs' folder; "" for the configs themselves.

    Raises:
        UserError: There is none.
    """
    packaged = installation.configs_folder() / folder
    if re.fullmatch(r"\w+", name) and (file := packaged / f"{name}.py").is_file():
        return file
    if (path := user_path(name)).is_file():
        return path
    names = [path.stem for path in packaged.glob("*.py") if path.stem != "__init__"]
    if re.fullmatch(r"\w+", name):
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"
        raise UserError(f"{flag}={name}: there is no such config; {hint}")
    stem = pathlib.Path(name).stem
    hint = f"; {flag}={stem} is the one that comes with the program" if stem in names else ""
    raise UserError(f"{flag}={name}: there is no such file{hint}")


def _make_configs_importable() -> None:
    """`from configs import default` works where the program is installed as in a checkout."""
    if installation.configs_folder().parent == installation.PACKAGE:
        sys.modules.setdefault("configs", importlib.import_module("mnist_jax.configs"))
    elif sys.path[:1] != [str(installation.ROOT)]:  # first: a folder of the user's may have that name
        sys.path.insert(0, str(installation.ROOT))


def _config_error(error: Exception) -> str:
    """One line about what a config's code raised; a field that it adds is named without all that exist."""
    if match := re.match(r"""['"]Key ['"](\w+)['"] does not exist and cannot be added""", str(error)):
        return unknown_field(match[1])
    return one_line(error)


def _check_fields(argv: list[str]) -> None:
    """Finds fields that do not exist, and tuples given twice, of which the parser would join the values."""
    given = [match[1] for match in map(_FIELD.match, argv) if match]
    for name in given:
        if name not in FIELDS:
            raise UserError(unknown_field(name))
        if given.count(name) > 1 and isinstance(FIELDS[name].default, tuple):
            raise UserError(f"config.{name} is given {given.count(name)} times; give it once")


def _bad_value(message: str, file: str) -> str:
    """One line from what the flag parser says about a value."""
    match = re.match(r"flag --config\.([\w.]+)=(.*?): ", message, re.DOTALL)
    if match:
        return bad_value(match[1], match[2])
    # A config file's own error comes as a traceback, which ends with what matters.
    last = message.strip().splitlines()[-1]
    lines = re.findall(rf'File "{re.escape(file)}", line (\d+)', message)
    return f"{file}, line {lines[-1]}: {last}" if lines else last


def _name(argv: list[str]) -> str:
    """The last one given, which is the one that counts."""
    found = ""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if match := _FLAG.match(argument):
            found = match[1] if match[1] is not None else following
    return found


def _with_file(argv: list[str], file: str) -> list[str]:
    """The same with the one `--config` that counts, as `--config=FILE`, where the first was."""
    changed: list[str] = []
    given = iter(argv)
    for argument in given:
        if not (match := _FLAG.match(argument)):
            changed.append(argument)
            continue
        if match[1] is None:
            next(given, None)
        if f"--config={file}" not in changed:
            changed.append(f"--config={file}")
    return changed
