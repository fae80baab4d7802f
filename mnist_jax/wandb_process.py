"""Weights & Biases as the training process sees it: a process of its own, which nothing has to wait for.

`wandb_writer` runs there. It follows the files of the workdir, so that a client that fails, hangs or dies
takes nothing of the training's time and none of its data with it, and ends well when the training is killed.
"""

import contextlib
import json
import netrc
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Mapping

import dotenv
import ml_collections

from mnist_jax.errors import UserError

_SECONDS_TO_WRITE = 60.0  # for the predictions of ten thousand examples two or three are enough
_SECONDS_TO_STOP = 3.0  # where the person at the terminal waits for the end of an interrupted run


def effective_mode(config: ml_collections.FrozenConfigDict, environment: Mapping[str, str]) -> str:
    """What `config.wandb.mode` comes to: "online", "offline" or "disabled".

    "auto" is $WANDB_MODE where that is one of them, else online where a key is, else offline.
    Raises UserError: "online", but there is no key.
    """
    mode = config.mode
    if mode == "auto":
        mode = environment.get("WANDB_MODE", "")
        if mode not in ("online", "offline", "disabled"):
            return "online" if _has_key(environment) else "offline"
    if mode == "online" and not _has_key(environment):
        raise UserError(
            "config.wandb.mode is 'online', but there is no WANDB_API_KEY in the environment or in .env, and "
            "none in ~/.netrc; add one, or use --config.wandb.mode=auto"
        )
    return mode


def wandb_environment(folder: pathlib.Path | None = None) -> dict[str, str]:
    """The environment, with what it lacks of the WANDB_ variables in `.env`, of `folder` or this one."""
    found = dotenv.dotenv_values((folder or pathlib.Path()) / ".env", interpolate=False)
    ours = {name: value for name, value in found.items() if name.startswith("WANDB_") and value}
    return {**ours, **os.environ}


class WandbProcess:
    """The process that writes a run's W&B log and uploads it; started by `start`, ended by `close`."""

    def __init__(
        self,
        workdir: pathlib.Path,
        config: ml_collections.FrozenConfigDict,
        logged: Mapping[str, int],
        say: Callable[[str], None],
    ):
        """config: `config.wandb`. logged: split -> last step that an earlier process of this run logged."""
        self._workdir, self._config, self._logged, self._say = workdir, config, logged, say
        self._environment = wandb_environment()
        self.mode = effective_mode(config, self._environment)
        self._process: subprocess.Popen[str] | None = None
        self._told: dict[str, str] = {}
        self._news = threading.Condition()

    def start(self) -> None:
        """Starts the process where W&B is on; once."""
        if self._process is not None or self.mode == "disabled":
            return
        folder = self._workdir.resolve() / "wandb"
        folder.mkdir(exist_ok=True)
        job = {"workdir": str(folder.parent), "logged": self._logged, "online": self.mode == "online"}
        with (folder / "writer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mnist_jax.wandb_writer", json.dumps(job)],
                stdin=subprocess.PIPE,  # whose end tells that the training ended, however it did
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=pathlib.Path(__file__).resolve().parent.parent,
                env={**self._environment, **_folders(folder)},
                start_new_session=True,  # Ctrl-C is for the training
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self, *, finished: bool) -> str | None:
        """Ends the process; returns a line on where the run is. finished: the results are in the workdir."""
        if self._process is None:
            return None
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._wait_for("logged", seconds=_SECONDS_TO_WRITE if finished else _SECONDS_TO_STOP)
        if finished and self.mode == "online":
            self._wait_for("uploaded", "failed", seconds=self._config.wait)
        told = self._told
        if "segment" not in told or ("logged" not in told and "failed" in told):
            return "none: the run's own record in the workdir is complete"
        if "uploaded" in told:
            return told["url"]
        command = f"wandb sync {self._workdir / 'wandb' / told['segment']}"
        if "url" in told and "failed" not in told:
            return f"{told['url']} is being uploaded; where that is cut off: {command}"
        return command

    def _wait_for(self, *words: str, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._told.keys() & {*words, "ended"}, seconds)

    def _listen(self) -> None:
        """Takes what the process tells: a word and the rest of the line."""
        assert self._process
        assert self._process.stdout
        for line in self._process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "failed" and "failed" not in self._told:
                self._say(f"W&B: {rest}; the run goes on, and its own record is complete")
            with self._news:
                self._told[word] = rest
                self._news.notify_all()
        if self._process.wait() != 0 and "failed" not in self._told:
            self._say(f"W&B: its process ended; {self._workdir / 'wandb' / 'writer.log'} has more")
            self._told["failed"] = ""
        with self._news:
            self._told["ended"] = ""
            self._news.notify_all()


def _has_key(environment: Mapping[str, str]) -> bool:
    if environment.get("WANDB_API_KEY"):
        return True
    host = urllib.parse.urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        path = environment.get("NETRC") or pathlib.Path("~/.netrc").expanduser()
        return netrc.netrc(str(path)).authenticators(host or "") is not None
    except (OSError, RuntimeError, netrc.NetrcParseError):
        return False


def _folders(folder: pathlib.Path) -> dict[str, str]:
    """Keeps in the workdir what W&B would stage in the user's home, by absolute path."""
    names = {f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
    # A kill loses a second, not fifteen; and nothing waits for a telemetry host.
    return {**names, "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1", "WANDB_ERROR_REPORTING": "false"}
