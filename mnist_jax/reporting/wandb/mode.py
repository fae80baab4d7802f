"""Whether a run goes to W&B's server, as W&B's own client decides it."""

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
# Lines of the client about files that it cannot read and passes over.
_UNREAD = re.compile(r"^wandb: (ERROR|WARNING (Error reading|Failed to read))", re.MULTILINE)
_OFF = ("offline", "dryrun", "disabled")
_NO_KEY = "there is no WANDB_API_KEY in the environment or in .env, and none in ~/.netrc"


class ClientSettings(NamedTuple):
    """What W&B's client takes from environment, settings and key files; see `client`."""

    mode: str = ""
    chosen: bool = False
    base_url: str = ""
    has_key: bool = False
    problem: str | None = None


# The questions under way, and the answers, by what of the environment they depend on.
_questions: dict[frozenset[tuple[str, str]], subprocess.Popen[str]] = {}
_answers: dict[frozenset[tuple[str, str]], ClientSettings] = {}


_ahead = False  # whether the last question was asked before the run began


def start_asking(config: Mapping[str, Any], *, ahead: bool = False) -> None:
    """Asks W&B's client anew where its answer decides the mode, and does not wait for it.

    Args:
      config: `config.wandb`.
      ahead: True before JAX is imported, which takes longer than the answer; the call of the run itself keeps
        that question.

    Raises:
      UserError: see `wandb_environment`.
    """
    global _ahead
    kept, _ahead = _ahead and not ahead, ahead
    if kept or not distributed.is_first():
        return
    _answers.clear()
    while _questions:  # of a run that failed before it needed the answer
        _, process = _questions.popitem()
        process.kill()
        process.communicate()
    if config.get("mode") in ("auto", "online"):
        environment = wandb_environment()
        _questions[_key(environment)] = _ask(environment)


def check_mode(config: ml_collections.FrozenConfigDict, warn: Callable[[str], None]) -> None:
    """Reports what of W&B's settings does not count.

    Args:
      config: `config.wandb`.
      warn: takes a line.

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
        notes.append("user name and password in W&B's setting base_url are left out: W&B takes a key alone")
    for note in notes:
        warn(note)


def effective_mode(config: ml_collections.FrozenConfigDict, environment: Mapping[str, str]) -> str:
    """What `config.wandb.mode` comes to: "online", "offline" or "disabled".

    Of several processes that train together, the first alone logs. "auto" is what W&B's client does by
    itself, but offline where it finds no key or cannot read its settings.

    Raises:
      UserError: "online", also where the client's settings say so, but there is no key that can be used.
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
        where = "config.wandb.mode" if mode == "online" else "the mode of W&B's own settings"
        raise UserError(
            f"{where} is 'online', but {client.problem or _NO_KEY}; mend that, or give "
            "--config.wandb.mode=offline"
        )
    return "online"


def wandb_environment(folder: pathlib.Path | None = None) -> dict[str, str]:
    """The environment, with what it lacks of the WANDB_ variables in `.env`, of `folder` or this one.

    Variables of W&B that are empty count as not set. Addresses have no user name and password, which W&B's
    client does not need, and prints where it fails. $PYTHON_DOTENV_DISABLED, a switch of the library, leaves
    the file out: the container's entrypoint, which reads it itself, sets that.

    Raises:
      UserError: the file cannot be read.
    """
    return _read_environment(folder or pathlib.Path())[0]


def ask_client(environment: Mapping[str, str]) -> ClientSettings:
    """What W&B's client takes from its settings in an environment; it is asked once, see `start_asking`."""
    key = _key(environment)
    if key not in _answers:
        _answers[key] = _answer(_questions.pop(key) if key in _questions else _ask(environment))
    return _answers[key]


def _read_environment(folder: pathlib.Path) -> tuple[dict[str, str], list[str]]:
    """See `wandb_environment`, and a line for each kind of thing that is left out."""
    switched_off = os.environ.get("PYTHON_DOTENV_DISABLED", "").casefold() in ("1", "true", "t", "yes", "y")
    file = EnvFile({}, []) if switched_off else read_env_file(folder / ".env")
    given = {name: value for name, value in file.values.items() if name.startswith("WANDB_") and value}
    given |= {name: value for name, value in os.environ.items() if value or not name.startswith("WANDB_")}
    plain = {name: without_credentials(value) for name, value in given.items() if name in _ADDRESSES}
    notes = []
    if file.unread:
        lines = ", ".join(map(str, file.unread[:10])) + ", ..." * (len(file.unread) > 10)
        notes.append(f"{folder / '.env'}: what is not NAME=VALUE is left out, from line {lines}")
    if names := [name for name, value in plain.items() if given[name] != value]:
        notes.append(f"user name and password in {', '.join(names)} are left out: W&B takes a key alone")
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
        return ClientSettings(problem=f"its client does not read its settings within {_SECONDS:.0f} s")
    except (IndexError, ValueError, TypeError):
        return ClientSettings(problem=f"its client cannot be asked (status {process.returncode})")
    if client.problem is None and _UNREAD.search(said):
        return client._replace(
            problem="its client cannot read its settings or netrc file (see `wandb status`)"
        )
    return client
