"""The flags of a command, with one style of help and of errors for all commands."""

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


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs, the exit statuses as one of their own, and keeps examples, which are indented."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = functools.partial(textwrap.fill, width=width, break_on_hyphens=False)
        paragraphs = re.split(r"\n\n|\n(?=Exit status)", text.strip())
        return "\n\n".join(one if one.startswith(" ") else fill(one) for one in paragraphs)


class Parser(argparse.ArgumentParser):
    """argparse, with errors as UserError, and with `--config` for commands that call `add_config`."""

    def __init__(self, name: str, description: str):
        """Makes the parser.

        Args:
            name: How the user calls the program.
            description: The first part of its help.
        """
        super().__init__(
            prog=name,
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self._takes_config = False
        self.add_argument(
            "--verbosity",
            type=integer(-3),
            default=0,
            metavar="N",
            help="1: tracebacks and what libraries log",
        )

        self.add_argument(
            "--import",
            dest="imports",
            action="append",
            default=[],
            metavar="MODULE",
            help="a module of yours that registers models or data sets; for several, several times",
        )

    def add_config(self) -> None:
        """Adds `--config=CONFIG`, with `--config.FIELD=VALUE` for each field.

        The options then have `config`, a ConfigDict; `config_name`, as given; and `config_changes`, the
        fields that the command line changes, by dotted name.
        """
        self._takes_config = True
        self.add_argument(
            "--config",
            dest="config_name",
            metavar="CONFIG",
            required=True,
            help="a config by name, such as digits, or a Python file; --config.FIELD=VALUE changes a field",
        )

    def add_run(self) -> None:
        """Adds `--workdir` and `--checkpoint`, which name a trained model."""
        self.add_argument("--workdir", type=path, required=True, help="the folder of the run")
        self.add_checkpoint()

    def add_checkpoint(self) -> None:
        """Adds `--checkpoint`, the step of a model."""
        self.add_argument(
            "--checkpoint", type=integer(0), metavar="STEP", help="default: the best by validation"
        )

    def parse(self, argv: list[str], options: Options) -> None:
        """Fills `options` from the command line.

        `--help` prints the help and exits; `--help config.train` that of the fields of a group.

        Raises:
            UserError: A flag is missing, does not exist or has an impossible value.
        """
        if {"-h", "--help", "-help"} & set(argv):
            require_output()
            print(self._help(next((argument for argument in argv if argument[:1] != "-"), "")), flush=True)
            sys.exit(0)
        takes_files = any(action.nargs in ("*", "+") for action in self._actions)  # as a shell gives them
        for argument in argv:
            if not (takes_files and argument[:1] != "-") and not is_utf8(argument):
                raise UserError(f"{argument!r} must be UTF-8; rename it, or write it in UTF-8")
        self._require(argv)
        _import_own(argv)
        if self._takes_config:
            from mnist_jax.cli import config_flag

            config, argv = config_flag.read(argv)
            options.config, options.config_changes = config.fields, config.changes
            argv = [f"--config={config.name}", *argv]
        argv = [self._with_two_dashes(argument) for argument in argv]
        _, unknown = self.parse_known_args(argv, options)
        if unknown:
            self._refuse(unknown[0])

    def error(self, message: str) -> NoReturn:
        """Raises UserError with what argparse says of a flag."""
        message = message.replace("the following arguments are required: ", "missing: ")
        raise UserError(re.sub(r"^argument (\S+): ", r"\1 ", message))

    def _help(self, asked: str) -> str:
        """Returns the help of the command, or of `config`, `config.GROUP` or `config.FIELD`."""
        if not self._takes_config:
            return self.format_help().rstrip("\n")
        from mnist_jax.config.reference import help_text, list_fields

        width = shutil.get_terminal_size().columns
        if re.match(r"config(\.|$)", asked):
            return help_text(asked.removeprefix("config").removeprefix("."), width)
        about = "config fields, each a flag (--help config.train has more of train):"
        return f"{self.format_help()}\n{textwrap.fill(about, width)}\n{list_fields(width)}"

    def _require(self, argv: list[str]) -> None:
        required = [action for action in self._actions if action.required and action.option_strings]
        for flag in (action.option_strings[0] for action in required):
            if not any(re.match(rf"-?-{flag.lstrip('-')}(=.|$)", argument) for argument in argv):
                raise UserError(f"{flag} is missing; for example {flag}={_EXAMPLES[flag]}")

    def _with_two_dashes(self, argument: str) -> str:
        """`-workdir=x` is `--workdir=x`."""
        name = argument.split("=")[0]
        return f"-{argument}" if f"-{name}" in self._option_string_actions else argument

    def _refuse(self, argument: str) -> NoReturn:
        flag = argument.split("=")[0]
        if not re.match("--?[A-Za-z]", flag):
            raise UserError(f"{argument!r} is not a flag; write --flag=value")
        flag = f"--{flag.lstrip('-')}"
        near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
        raise UserError(
            f"{flag} is not a flag; " + (f"did you mean {near[0]}?" if near else "--help lists them")
        )


def _import_own(argv: list[str]) -> None:
    """Imports what `--import` names, before a config is read that may need it."""
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
    """Whether a text from the command line or the file system was UTF-8."""
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
            raise argparse.ArgumentTypeError(f"must be {'|'.join(names)} (got {text!r})")
        return text

    return parse
