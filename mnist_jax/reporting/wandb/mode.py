"""Whether W&B logs a run online, offline or not at all, as W&B's own client decides it."""

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections

from mnist_jax.storage.git import without_credentials
from mnist_jax.system import distributed
from mnist_jax.system.dotfiles import EnvFile, read_env_file
from mnist_jax.system.errors import UserError
from mnist_jax.system.installation import child_environment

_SECONDS = 30.0  # for the client to read its settings
_ADDRESSES = ("WANDB_BASE_URL", "WANDB_APP_URL")
# Lines of the client about files that it cannot read and ignores.
_UNREAD = re.compile(r"^wandb: (ERROR|WARNING (Error reading|Failed to read))", re.MULTILINE)
_OFF = ("offline", "dryrun", "disabled")
_NO_KEY = "there is no WANDB_API_KEY in the environment or in .env, and none in ~/.netrc"


class ClientSettings(NamedTuple):
    """What W&B's client reads in environment, settings and key files; see `client`."""

    mode: str = ""
    chosen: bool = False
    base_url: str = ""
    has_key: bool = False
    problem: str | None = None


# Pending questions and answers, by the variables that they depend on.
_questions: dict[frozenset[tuple[str, str]], subprocess.Popen[str]] = {}
_answers: dict[frozenset[tuple[str, str]], ClientSettings] = {}
_ahead = False  # whether the pending question was asked before the run began


def start_asking(config: Mapping[str, Any], *, ahead: bool = False) -> None:
    """Asks W&B's client for its settings, if these decide the mode, and does not wait for the answer.

    Args:
      config: `config.wandb`.
      ahead: whether the run itself is still to ask; it then keeps this question. The command line asks before
        it imports JAX, which takes longer than the answer.

    Raises:
      UserError: see `wandb_environment`.
    """
    global _ahead
    kept, _ahead = _ahead and not ahead, ahead
    if kept or not distributed.is_first():
        return
    _answers.clear()
    while _questions:  # of a run that failed before it read the answer
        _, process = _questions.popitem()
        process.kill()
        process.communicate()
    if config.get("mode") in ("auto", "online"):
        environment = wandb_environment()
        _questions[_key(environment)] = _ask(environment)


def check_mode(config: ml_collections.FrozenConfigDict, warn: Callable[[str], None]) -> None:
    """Warns about settings of W&B that are ignored or cannot be used.

    Args:
      config: `config.wandb`.
      warn: prints a line.

    Raises:
      UserError: see `effective_mode` and `wandb_environment`.
    """
    if not distributed.is_first() or config.mode == "disabled":
        return
    environment, notes = _read_environment(pathlib.Path())
    mode = effective_mode(config, environment)
    client = ClientSettings() if config.mode == "offline" else ask_client(environment)
    if client.problem and client.mode not in _OFF:
        notes.append(f"W&B: {client.problem}; the run is logged {mode}")
    if without_credentials(client.base_url) != client.base_url:
        notes.append("W&B's setting base_url: user name and password are ignored; W&B uses a key")
    for note in notes:
        warn(note)


def effective_mode(config: ml_collections.FrozenConfigDict, environment: Mapping[str, str]) -> str:
    """The mode that `config.wandb.mode` results in: "online", "offline" or "disabled".

    Only the first of several processes logs. "auto" is the mode of W&B's client, but "offline" if the client
    finds no key or cannot read its settings.

    Raises:
      UserError: the config or the client's settings ask for "online", and there is no usable key.
    """
    mode: str = config.mode if distributed.is_first() else "disabled"
    if mode in ("offline", "disabled"):
        return mode
    client = ask_client(environment)
    if mode == "auto":
        if client.mode == "disabled":
            return "disabled"
        if client.problem or client.mode in _OFF or not (client.has_key or client.chosen):
            return "offline"
    if client.problem or not client.has_key:
        where = "config.wandb.mode" if mode == "online" else "the mode in W&B's settings"
        raise UserError(
            f"{where} must be 'offline' or 'disabled' without a usable key (got 'online'): "
            f"{client.problem or _NO_KEY}; fix that, or give --config.wandb.mode=offline"
        )
    return "online"


def wandb_environment(folder: pathlib.Path | None = None) -> dict[str, str]:
    """The environment and, where it does not set them, the WANDB_ variables of a file `.env`.

    Empty WANDB_ variables count as not set. User names and passwords are removed from addresses: W&B's client
    does not need them, and prints them in its errors. With $PYTHON_DOTENV_DISABLED the file is ignored; the
    container's entrypoint reads it and sets that.

    Args:
      folder: of the file; None for the current one.

    Raises:
      UserError: the file cannot be read.
    """
    return _read_environment(folder or pathlib.Path())[0]


def ask_client(environment: Mapping[str, str]) -> ClientSettings:
    """What W&B's client reads in its settings in an environment; asked once, see `start_asking`."""
    key = _key(environment)
    if key not in _answers:
        _answers[key] = _answer(_questions.pop(key) if key in _questions else _ask(environment))
    return _answers[key]


def _read_environment(folder: pathlib.Path) -> tuple[dict[str, str], list[str]]:
    """See `wandb_environment`; and a line for each kind of setting that is ignored."""
    switched_off = os.environ.get("PYTHON_DOTENV_DISABLED", "").casefold() in ("1", "true", "t", "yes", "y")
    file = EnvFile({}, []) if switched_off else read_env_file(folder / ".env")
    given = {name: value for name, value in file.values.items() if name.startswith("WANDB_") and value}
    given |= {name: value for name, value in os.environ.items() if value or not name.startswith("WANDB_")}
    plain = {name: without_credentials(value) for name, value in given.items() if name in _ADDRESSES}
    notes = []
    if file.unread:
        lines = ", ".join(map(str, file.unread[:10])) + ", ..." * (len(file.unread) > 10)
        notes.append(f"{folder / '.env'}: lines that are not NAME=VALUE are ignored: {lines}")
    if names := [name for name, value in plain.items() if given[name] != value]:
        notes.append(f"{', '.join(names)}: user name and password are ignored; W&B uses a key")
    return {**given, **plain}, notes


def _key(environment: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    named = {name: value for name, value in environment.items() if name.startswith("WANDB_")}
    places = {name: environment.get(name, "") for name in ("HOME", "NETRC")}
    return frozenset({**named, **places, "": os.getcwd()}.items())


def _ask(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    heard = {
        name: value for name, value in environment.items() if name not in ("WANDB_SILENT", "WANDB_QUIET")
    }
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_jax.reporting.wandb.client"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=child_environment(heard),
    )


def _answer(process: subprocess.Popen[str]) -> ClientSettings:
    try:
        printed, said = process.communicate(timeout=_SECONDS)
        client = ClientSettings(**json.loads(printed.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        process.kill()
        return ClientSettings(problem=f"its client takes more than {_SECONDS:.0f} s to read its settings")
    except (IndexError, ValueError, TypeError):
        return ClientSettings(problem=f"its client fails (status {process.returncode})")
    if client.problem is None and _UNREAD.search(said):
        return client._replace(
            problem="its client cannot read its settings or netrc file (see `wandb status`)"
        )
    return client
