"""The table of commands, and the program that runs a command."""

import difflib
import importlib
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from mnist_jax.cli import exits, parsing
from mnist_jax.system.errors import UserError
from mnist_jax.system.output import require_output

# Name -> the first line of the module's docstring, so that the list needs no imports.
COMMANDS = {
    "train": "Trains an image classifier.",
    "evaluate": "Evaluates a checkpoint of a run on the test split.",
    "predict": "Predicts the class of images with the model of a run.",
    "explore": "Shows a data set on one page: images, labels, pixels, duplicates and doubtful labels.",
    "export": "Writes the model of a run as files that need no mnist_jax.",
    "demo": "Serves a page to try the model of a run: draw a digit or drop an image.",
    "sweep": "Trains every member of a sweep, or the trials of a search, each as a run of its own.",
    "compare": "Compares finished runs and tests which differences between them are real.",
    "runs": "Lists runs with status, age and results.",
    "reproduce": "Trains a finished run again and compares the results.",
}
NAME = "mnist-jax"


class Command(NamedTuple):
    """A command.

    Attributes:
        help: its description.
        add_flags: adds its flags to a parser.
        run: runs it and returns the exit status; None for 0.
    """

    help: str | None
    add_flags: Callable[[parsing.Parser], None]
    run: Callable[[parsing.Options], int | None]


def main(argv: list[str] | None = None) -> int:
    """Runs `mnist-jax COMMAND FLAGS`.

    Args:
        argv: The command and its flags; None for those of this process.

    Returns:
        The exit status.
    """
    if argv is None:
        argv = sys.argv[sys.argv.index("mnist_jax") + 1 if sys.argv[0] == "-m" else 1 :]
    if argv[:1] == ["help"] and argv[1:2] and argv[1] in COMMANDS:
        argv = [argv[1], "--help", *argv[2:]]
    if not argv or argv[0] in ("-h", "--help", "help"):
        return exits.status_of(NAME, _print_help)
    if argv[0] == "--version":
        return exits.status_of(NAME, _print_version)
    if argv[0] not in COMMANDS:
        return exits.status_of(NAME, lambda: _refuse(argv[0]))
    module = importlib.import_module(f"mnist_jax.cli.{argv[0]}")
    command = Command(module.__doc__, module.add_flags, module.run)
    return execute(f"{NAME} {argv[0]}", command, argv[1:])


def execute(name: str, command: Command, argv: list[str]) -> int:
    """Parses the flags of a command and runs it.

    Args:
        name: As the user calls it, for errors.
        command: The command.
        argv: Its flags and arguments.

    Returns:
        The exit status.
    """
    options = parsing.Options(verbosity=0, program=name)

    def program() -> int | None:
        parser = parsing.Parser(name, command.help or "")
        command.add_flags(parser)
        parser.parse(argv, options)
        _set_verbosity(options.verbosity)
        return command.run(options)

    return exits.status_of(name, program, verbose=lambda: options.verbosity >= 1)


def _set_verbosity(level: int) -> None:
    """Lets libraries print their logs at level 1 and above."""
    from absl import flags, logging

    from mnist_jax.system.terminal import quiet_libraries

    flags.FLAGS.mark_as_parsed()  # libraries then read their defaults
    if level < 1:
        quiet_libraries()
    else:
        logging.set_verbosity(level)


def _print_help() -> None:
    require_output()
    width, columns = max(map(len, COMMANDS)), shutil.get_terminal_size().columns
    print(f"usage: {NAME} COMMAND [flags]\n")
    for name, summary in COMMANDS.items():
        print(textwrap.fill(f"  {name:{width}}  {summary}", columns, subsequent_indent=" " * (width + 4)))
    print(f"\n{NAME} COMMAND --help shows the flags of a command.")


def _print_version() -> None:
    from mnist_jax import __version__

    require_output()
    print(f"{NAME} {__version__}")


def _refuse(name: str) -> None:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"{NAME} --help lists the commands"
    raise UserError(f"{name!r} is not a command; {hint}")
