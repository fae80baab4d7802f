"""The flags of a command, with the same style of help and errors for all commands."""

import argparse
import difflib
import functools
import pathlib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import NoReturn

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path
from mnist_jax.system.output import require_output

Options = argparse.Namespace

_EXAMPLES = {
    "--config": "configs/digits.py",
    "--workdir": "runs/digits",
    "--sweep": "configs/sweeps/report.py",
}
# Words of other programs -> the flag here.
_SYNONYMS = {
    "ckpt": "--checkpoint",
    "logdir": "--workdir",
    "out": "--workdir",
    "output": "--workdir",
    "output_dir": "--workdir",
    "save_dir": "--workdir",
}


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs, with the exit statuses as one of their own; keeps indented examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = functools.partial(textwrap.fill, width=width, break_on_hyphens=False)
        paragraphs = re.split(r"\n\n|\n(?=Exit status)", text.strip())
        return "\n\n".join(one if one.startswith(" ") else fill(one) for one in paragraphs)


class Parser(argparse.ArgumentParser):
    """argparse, with errors as UserError, and with `--config` for commands that call `add_config`."""

    def __init__(self, name: str, description: str):
        """Makes the parser.

        Args:
            name: The program as the user calls it.
            description: The first part of its help.
        """
        super().__init__(
            prog=name,
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self._takes_config = False
        self._excused: list[tuple[str, str]] = []
        self.add_argument(
            "--verbosity",
            type=integer(-3),
            default=0,
            metavar="N",
            help="1: print tracebacks and the logs of libraries",
        )
        self.add_argument(
            "--import",
            dest="imports",
            action="append",
            default=[],
            metavar="MODULE",
            help="a module of yours that registers models or data sets; can be repeated",
        )

    def add_config(self, *, required: bool = True) -> None:
        """Adds `--config=CONFIG`, with `--config.FIELD=VALUE` for each field.

        The options then have `config`, a ConfigDict; `config_name`, as given; and `config_changes`, the
        fields that the command line changes, by dotted name. Without `--config`, `config` is None.
        """
        self._takes_config = True
        help = "a config by name, such as digits, or a Python file; --config.FIELD=VALUE changes a field"
        self.add_argument("--config", dest="config_name", metavar="CONFIG", required=required, help=help)

    def add_run(self) -> None:
        """Adds `--workdir` and `--checkpoint`, which name a trained model."""
        self.add_argument("--workdir", type=path, required=True, help="folder of the run")
        self.add_checkpoint()

    def add_checkpoint(self) -> None:
        """Adds `--checkpoint`, the step of a model; None for the best."""
        self.add_argument(
            "--checkpoint",
            type=step_or_best,
            metavar="STEP|best",
            help="step of the checkpoint; default: best, by validation",
        )

    def excuse(self, flag: str, given: str) -> None:
        """Makes a required flag optional on command lines with another one, such as "--mode=evaluate"."""
        self._excused.append((flag, given))

    def parse(self, argv: list[str], options: Options) -> None:
        """Fills `options` from the command line.

        `--help` prints the help and exits; `--help config.train` prints the fields of a group.

        Raises:
            UserError: A flag is missing, does not exist or has an invalid value.
        """
        if {"-h", "--help", "-help"} & set(argv):
            require_output()
            print(self._help(next((argument for argument in argv if argument[:1] != "-"), "")), flush=True)
            sys.exit(0)
        takes_files = any(action.nargs in ("*", "+") for action in self._actions)  # names of any bytes
        for argument in argv:
            if not (takes_files and argument[:1] != "-") and not is_utf8(argument):
                raise UserError(f"{argument!r} must be UTF-8; rename it, or write it in UTF-8")
        self._check_flags(argv)
        self._require(argv)
        _import_own(argv)
        if self._takes_config:
            argv = _read_config(argv, options)
        argv = [self._with_two_dashes(argument) for argument in argv]
        _, unknown = self.parse_known_args(argv, options)
        if unknown:
            self._refuse(unknown[0])

    def error(self, message: str) -> NoReturn:
        """Raises UserError with argparse's message about a flag."""
        if match := re.match(r"the following arguments are required: (\S+?)(,|$)", message):
            raise UserError(f"{match[1]} is missing; {self.prog} --help shows an example")
        if match := re.match(r"argument (\S+): expected (one|at least one) argument", message):
            action = self._option_string_actions[match[1]]
            value = _EXAMPLES.get(match[1], action.metavar or action.dest.upper())
            raise UserError(f"{match[1]} must be given with a value, such as {match[1]}={value}")
        if match := re.match(r"argument (\S+): ignored explicit argument (.*)", message):
            raise UserError(f"{match[1]} must be given without a value (got {match[2]})")
        raise UserError(re.sub(r"^argument (\S+): ", r"\1 ", message))

    def _help(self, asked: str) -> str:
        """Returns the help of the command, or of `config`, `config.GROUP` or `config.FIELD`."""
        if not self._takes_config:
            return self.format_help().rstrip("\n")
        from mnist_jax.config.reference import help_text, list_fields

        width = shutil.get_terminal_size().columns
        if re.match(r"config(\.|$)", asked):
            return help_text(asked.removeprefix("config").removeprefix("."), width)
        about = (
            "config fields, each a flag --config.GROUP.FIELD (--help config.train explains those of train):"
        )
        return f"{self.format_help()}\n{textwrap.fill(about, width)}\n{list_fields(width)}"

    def _check_flags(self, argv: list[str]) -> None:
        """Refuses the first flag that does not exist, before a missing one."""
        for argument in argv:
            if re.match(r"[A-Za-z_.]+=", argument) and self._exists(argument.split("=")[0]):
                self._refuse(argument)  # `workdir=x`
            name = re.match(r"--?([A-Za-z][^=]*)", argument)
            if name and not (
                f"--{name[1]}" in self._option_string_actions
                or argument.split("=")[0] in self._option_string_actions
                or (self._takes_config and re.match(r"(no)?config\.|flagfile$", name[1]))
            ):
                self._refuse(argument)

    def _require(self, argv: list[str]) -> None:
        for flag, given in self._excused:
            if re.search(rf"(^| )-?{given.replace('=', '[= ]')}( |$)", " ".join(argv)):
                self._option_string_actions[flag].required = False
        required = [action for action in self._actions if action.required and action.option_strings]
        for flag in (action.option_strings[0] for action in required):
            if not _is_given(flag, argv):
                raise UserError(f"{flag} is missing; for example {flag}={_example(flag, argv)}")

    def _with_two_dashes(self, argument: str) -> str:
        """`-workdir=x` is `--workdir=x`."""
        name = argument.split("=")[0]
        return f"-{argument}" if f"-{name}" in self._option_string_actions else argument

    def _refuse(self, argument: str) -> NoReturn:
        flag, _, value = argument.partition("=")
        name = flag.lstrip("-")
        if name == flag and not value:
            raise UserError(f"{argument!r} is not a flag; write --flag=value")
        near = argument if name == flag and self._exists(name) else self._nearest_flag(name)
        hint = "--help lists the flags"
        if near:
            hint = f"did you mean --{near.lstrip('-').partition('=')[0]}{argument[len(flag) :]}?"
        raise UserError(f"{flag} is not a flag; {hint}")

    def _exists(self, name: str) -> bool:
        from mnist_jax.config.fields import FIELDS

        known = {f"--config.{field}" for field in FIELDS} if self._takes_config else set()
        return f"--{name}" in known | self._option_string_actions.keys()

    def _nearest_flag(self, name: str) -> str | None:
        """The flag, or the field of the config, that a name most likely means."""
        from mnist_jax.config.fields import nearest_field

        name = name.replace("-", "_")
        if _SYNONYMS.get(name) in self._option_string_actions:
            return _SYNONYMS[name]
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        flags = difflib.get_close_matches(f"--{name}", known, n=1)
        if self._takes_config and (field := nearest_field(name, 0.9 if flags else 0.6)):
            return f"--config.{field}"
        return flags[0] if flags else None


def _example(flag: str, argv: list[str]) -> str:
    """The value of a required flag that is missing: an argument that looks like it, or an example."""
    for argument in argv:
        if flag == "--config" and (argument.endswith(".py") or argument in _config_names()):
            return argument
        if flag == "--workdir" and argument[:1] != "-" and (pathlib.Path(argument) / "run.json").is_file():
            return argument
    return _EXAMPLES[flag]


def _config_names() -> list[str]:
    from mnist_jax.system.installation import configs_folder

    return [path.stem for path in configs_folder().glob("*.py")]


def _is_given(flag: str, argv: list[str]) -> bool:
    return any(re.match(rf"-?-{flag.lstrip('-')}(=.|$)", argument) for argument in argv)


def _read_config(argv: list[str], options: Options) -> list[str]:
    """Takes the config and its fields from a command line, and returns the rest of it."""
    from mnist_jax.cli import config_flag

    if not _is_given("--config", argv):
        if fields := [argument for argument in argv if re.match(r"--?(no)?config[.=]", argument)]:
            raise UserError(f"--config must be given with {fields[0]}; without both, it is that of the run")
        options.config = None
        return argv
    config, argv = config_flag.read(argv)
    options.config, options.config_changes = config.fields, config.changes
    return [f"--config={config.name}", *argv]


def _import_own(argv: list[str]) -> None:
    """Imports the modules of `--import` before the config is read, which may need them."""
    for argument in argv:
        if match := re.fullmatch("--?import=(.+)", argument):
            from mnist_jax.system.imports import import_own

            import_own(match[1])


def path(text: str) -> pathlib.Path:
    """A flag's type: the path of a file or folder, see `user_path`."""
    try:
        return user_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("a path ")) from None


def is_utf8(text: str) -> bool:
    """Whether a text from the command line or the file system is UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def integer(minimum: int) -> Callable[[str], int]:
    """A flag's type: an integer of at least `minimum`."""

    def parse(text: str) -> int:
        try:
            if (value := int(text)) >= minimum:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"must be an integer of at least {minimum} (got {text!r})")

    return parse


def step_or_best(text: str) -> int | None:
    """A flag's type: the step of a checkpoint, or None for "best"."""
    if text == "best":
        return None
    try:
        return integer(0)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be a step, or best (got {text!r})") from None


def number(text: str) -> float:
    """A flag's type: any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number (got {text!r})") from None


def one_of(*names: str) -> Callable[[str], str]:
    """A flag's type: one of these names."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)} (got {text!r})")
        return text

    return parse
