"""`--config=CONFIG`, a config by name or by file, and `--config.FIELD=VALUE`, which changes a field."""

import difflib
import importlib
import linecache
import pathlib
import re
import sys
import traceback
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from mnist_jax.config.fields import FIELDS, unknown_field
from mnist_jax.config.validation import bad_value
from mnist_jax.system import installation
from mnist_jax.system.errors import UserError, one_line
from mnist_jax.system.files import user_path

# What ml_collections raises for a field that does not exist, or has another type.
_MISSING = re.compile(
    r"""(?:Key ['"]|^["']?\\?')(\w+)\\?['"](?: does not exist and cannot be added|\\n|\n|$)"""
)
_MISTYPED = re.compile(
    r"Could not override field '(\w+)'.*?\. (.*) is of original type <class '(\w+)'>", re.DOTALL
)
_FLAG = re.compile(r"--?config(?:=(.*))?$", re.DOTALL)
_FIELD = re.compile(r"--?(?:no)?config\.([^=]*)")


class Config(NamedTuple):
    """A config from the command line.

    Attributes:
        name: Its name or file, as given.
        fields: All its fields, with the changes of the command line.
        changes: The fields that the command line changes, by dotted name.
    """

    name: str
    fields: ml_collections.ConfigDict
    changes: dict[str, Any]


def get_config(name: str = "default") -> ml_collections.ConfigDict:
    """A config to change and to train.

    Args:
        name: The name of a config of this program, such as "digits", or the path of a Python file.

    Raises:
        UserError: There is no such config.
    """
    return read([f"--config={name}"])[0].fields


def read(argv: list[str]) -> tuple[Config, list[str]]:
    """Reads the config from the command line.

    Args:
        argv: Flags and arguments, with `--config` among them.

    Returns:
        The config, and the remaining flags and arguments.

    Raises:
        UserError: The config or a field does not exist, the file cannot be run, or a value breaks a rule.
    """
    name = _name(argv)
    path, _, parameter = name.partition(":")
    file = str(find(path, "--config"))
    _check_fields(argv)
    _make_configs_importable()
    argv = ["", *_with_file(argv, f"{file}:{parameter}" if parameter else file)]
    sys.modules.pop("config_config", None)  # in which the parser would find what an earlier file defined
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", sys_argv=argv, flag_values=values)
    values.set_gnu_getopt(True)
    try:
        _, *rest = values(argv, known_only=True)
        if not isinstance(values.config, ml_collections.ConfigDict):
            found = type(values.config).__name__
            raise UserError(f"--config={name}: get_config() must return a ConfigDict (got {found})")
        values.config.to_dict()  # a file that could not be read raises here
    except flags.Error as error:
        raise UserError(_bad_value(str(error), name, file)) from error
    except UserError:
        raise
    except Exception as error:  # a config is code, so it can raise anything
        raise UserError(_config_error(error, name, file)) from error
    return Config(name, values.config, config_flags.get_override_values(values["config"])), rest


def find(name: str, flag: str, folder: str = "") -> pathlib.Path:
    """The file of a config or sweep.

    Args:
        name: The name of one of this program, such as `digits`, or a path.
        flag: The flag that gives it, for errors.
        folder: A subfolder of configs/; "" for configs/ itself.

    Raises:
        UserError: There is no such file.
    """
    packaged = installation.configs_folder() / folder
    if re.fullmatch(r"\w+", name) and (file := packaged / f"{name}.py").is_file():
        return file
    if (path := user_path(name)).is_file():
        return path
    names = [path.stem for path in packaged.glob("*.py") if path.stem != "__init__"]
    if user_path(f"{name}.py").is_file():
        raise UserError(f"{flag}={name} must be a file; did you mean {flag}={name}.py?")
    if re.fullmatch(r"\w+", name):
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(names))}"
        raise UserError(f"{flag}={name} must be a file, or a {flag.lstrip('-')} of this program; {hint}")
    stem = re.split(r"[./\\]", name.removesuffix(".py"))[-1]
    hint = f"; {flag}={stem} is one of this program" if stem in names else ""
    raise UserError(f"{flag}={name} must be a file{hint}")


def _make_configs_importable() -> None:
    """Makes `from configs import default` work in an installed package as in a checkout."""
    if installation.configs_folder().parent == installation.PACKAGE:
        sys.modules.setdefault("configs", importlib.import_module("mnist_jax.configs"))
    elif sys.path[:1] != [str(installation.ROOT)]:  # first: the user may have a folder of that name
        sys.path.insert(0, str(installation.ROOT))


def _config_error(error: Exception, name: str, file: str) -> str:
    """One line about what a config's code raised, with the line of its file."""
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return _code_error(str(error), one_line(error), name, file, numbers[-1] if numbers else None)


def _code_error(text: str, otherwise: str, name: str, file: str, number: int | None) -> str:
    """The same from the exception's text; `otherwise` reports an exception that is not known here."""
    where = f"--config={name}" + (f", line {number}" if number else "")
    source = linecache.getline(file, number) if number else ""
    if text.endswith("has no attribute 'get_config'"):
        return f"--config={name} must have a function get_config()"
    if match := _MISSING.search(text):
        return f"{where}: {unknown_field(_field_in(source, match[1]))}"
    if match := _MISTYPED.search(text):
        field = _field_in(source, match[1])
        if field in FIELDS:
            return f"{where}: {bad_value(field, match[2] if match[3] == 'str' else _Verbatim(match[2]))}"
    return f"{where}: {otherwise}"


class _Verbatim(str):
    """A value that is shown without quotes."""

    __repr__ = str.__str__


def _field_in(source: str, key: str) -> str:
    """The dotted name of a field in a line such as `config.train.epochs = 3`, by one of its parts."""
    match = re.search(rf"\w+\.((?:\w+\.)*{re.escape(key)}(?:\.\w+)*)", source)
    return match[1] if match else key


def _check_fields(argv: list[str]) -> None:
    """Refuses fields that do not exist, and tuples given twice, whose values the parser would join."""
    given = [match[1] for match in map(_FIELD.match, argv) if match]
    for name in given:
        if name not in FIELDS:
            raise UserError(unknown_field(name))
        if given.count(name) > 1 and isinstance(FIELDS[name].default, tuple):
            raise UserError(f"config.{name} must be given once (got it {given.count(name)} times)")


def _bad_value(message: str, name: str, file: str) -> str:
    """One line from the flag parser's message about a value."""
    if match := re.match(r"flag --config\.([\w.]+)=(.*?): ", message, re.DOTALL):
        spaces = f"; write --config.{match[1]}=VALUE without spaces" if match[2] in ("", "=") else ""
        return bad_value(match[1], match[2]) + spaces
    if match := re.match(r"Missing value for flag --config\.([\w.]+)", message):
        return f"config.{match[1]} must be {FIELDS[match[1]].rule.expects} (got no value)"
    # A TypeError in a config file comes as the text of its traceback.
    last = message.strip().splitlines()[-1]
    numbers = re.findall(rf'File "{re.escape(file)}", line (\d+)', message)
    return _code_error(last, last, name, file, int(numbers[-1]) if numbers else None)


def _name(argv: list[str]) -> str:
    """The config's name; the last one counts."""
    found = ""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if match := _FLAG.match(argument):
            found = match[1] if match[1] is not None else following
    return found


def _with_file(argv: list[str], file: str) -> list[str]:
    """The arguments with a single `--config=FILE`, in front: its fields may be given before it."""
    others: list[str] = []
    given = iter(argv)
    for argument in given:
        if not (match := _FLAG.match(argument)):
            others.append(argument)
        elif match[1] is None:
            next(given, None)
    return [f"--config={file}", *others]
