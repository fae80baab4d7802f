"""Flags and configs from the command line, with mistakes told in one line; quiet libraries."""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from absl import flags
from ml_collections import config_flags

from mnist_jax.config.fields import RULES, unknown_field
from mnist_jax.system import distributed
from mnist_jax.system.errors import Interrupted, PeerLost, UserError, circumstance, one_line
from mnist_jax.system.terminal import quiet_libraries

_EXAMPLES = {
    "config": "configs/digits.py",
    "workdir": "runs/digits",
    "sweep": "configs/sweeps/report.py",
}


def define_config() -> flags.FlagHolder:
    """The flag `--config=FILE`, with `--config.field=value` for each field of the config in the file."""
    return config_flags.DEFINE_config_file(
        "config", None, "A file of configs/; --config.FIELD=VALUE changes it."
    )


def parse(argv: list[str], *, required: tuple[str, ...]) -> None:
    """Parses the flags, quiets the libraries, and adds `--help`.

    required: flags that must be there.
    Raises UserError: one line about what is missing or cannot be parsed.
    """
    if "--help" in argv or "-h" in argv:
        print(f"{sys.modules['__main__'].__doc__}\n{flags.FLAGS.main_module_help()}")
        sys.exit(0)
    for argument in argv:
        if argument.encode(errors="ignore").decode() != argument:
            raise UserError(f"{argument!r} is not a text; write it in UTF-8")
    for name in required:
        if not any(re.match(rf"--?{name}(=.|$)", argument) for argument in argv):
            raise UserError(f"--{name} is missing; for example --{name}={_EXAMPLES[name]}")
    if "config" in required and not os.path.isfile(path := _config_file(argv).split(":")[0]):
        raise UserError(f"--config={path}: there is no such file")
    _check_fields(argv)
    try:
        rest = flags.FLAGS(argv)
        if "config" in required:
            flags.FLAGS.config.to_dict()  # a file that could not be read raises here
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=1)
        hint = f"did you mean --{near[0]}?" if near else "--help lists them"
        raise UserError(f"--{error.flagname} is not a flag; {hint}") from error
    except flags.Error as error:
        raise UserError(_bad_value(str(error), _config_file(argv))) from error
    except Exception as error:  # a config is code, so it can raise anything
        raise UserError(f"--config={_config_file(argv)}: {one_line(error)}") from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag; write --flag=value")
    if not _verbose():
        quiet_libraries()


def run(program: Callable[[], int | None]) -> int:
    """Runs a program and returns its exit status; 2 for a user's mistake, told in one line."""
    try:
        status = program() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough, `head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PeerLost as error:
        _report(error)
        _leave(1)
    except UserError as error:
        _report(error)
        return 2
    except Interrupted as error:
        _report(error)
        _leave(128 + error.signum)
    except KeyboardInterrupt:  # before the program was ready for it
        return 130
    except Exception as error:
        if line := circumstance(error):
            _report(error, line)
            _leave(2)
        if distributed.count() == 1:
            raise
        traceback.print_exc()
        _leave(1)


def _report(error: BaseException, line: str | None = None) -> None:
    """Prints one line on standard error, and the traceback before it where `--verbosity=1` was given."""
    if _verbose():
        traceback.print_exception(error)
    print(f"{os.path.basename(sys.argv[0])}: {line or one_line(error)}", file=sys.stderr)


def _leave(status: int) -> NoReturn:
    """Ends the process at once, for a run that ended anywhere, with all that matters saved.

    The interpreter's own end would take JAX apart under threads that still compile, and can crash there; of
    several processes it would wait for one that is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _check_fields(argv: list[str]) -> None:
    """Finds fields that do not exist, and tuples given twice, which the parser tells less clearly or not."""
    given = [match[1] for match in (re.match(r"--?(?:no)?config\.([^=]*)", arg) for arg in argv) if match]
    for name in given:
        if name not in RULES:
            raise UserError(unknown_field(name))
        if given.count(name) > 1 and RULES[name].expects.startswith("a tuple"):
            # Of other fields the last value counts; of tuples the parser would join them all.
            raise UserError(f"config.{name} is given {given.count(name)} times; give it once")


def _bad_value(message: str, config_file: str) -> str:
    """One line from what the flag parser says about a value."""
    match = re.match(r"flag --config\.([\w.]+)=(.*?): ", message, re.DOTALL)
    if match:
        return f"config.{match[1]} is {match[2]!r}; it may be {RULES[match[1]].expects}"
    # A config file's own error comes as a traceback, which ends with what matters.
    last = message.strip().splitlines()[-1]
    lines = re.findall(rf'File "{re.escape(config_file)}", line (\d+)', message)
    return f"{config_file}, line {lines[-1]}: {last}" if lines else last


def _config_file(argv: list[str]) -> str:
    """The last one given, which is the one that counts."""
    found = ""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        match = re.match(r"--?config(?:=(.*))?$", argument)
        if match:
            found = match[1] if match[1] is not None else following
    return found


def _verbose() -> bool:
    return flags.FLAGS.is_parsed() and flags.FLAGS.verbosity >= 1
