"""Weights & Biases as the training process sees it: a process of its own, which nothing has to wait for.

`wandb_writer` runs there. It follows the files of the workdir, so that a client that fails, hangs or dies
takes nothing of the training's time and none of its data with it, and ends well when the training is killed.
"""

import contextlib
import json
import pathlib
import secrets
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

import ml_collections

from mnist_jax.reporting.wandb.mode import effective_mode, wandb_environment
from mnist_jax.reporting.wandb.upload import unsynced
from mnist_jax.system.errors import Interrupted
from mnist_jax.system.files import make_folder, open_to_append
from mnist_jax.system.installation import child_environment

_SECONDS_TO_WRITE = 60.0  # for the predictions of ten thousand examples one is enough
_SECONDS_TO_STOP = 3.0  # where the person at the terminal waits for the end of an interrupted run
_NOT_PASSED_ON = {"WANDB_RESUME", "WANDB_RUN_ID"}  # which this program decides


def new_run_id(environment: Mapping[str, str]) -> str:
    """The id of a run that has none yet: what the agent of a W&B sweep gives, else a random one."""
    return _swept(environment) or secrets.token_hex(4)


class WandbProcess:
    """The process that writes a run's W&B log and uploads it; started by `start`, ended by `close`."""

    def __init__(
        self,
        workdir: pathlib.Path,
        config: ml_collections.FrozenConfigDict,
        say: Callable[[str], None],
    ):
        """config: `config.wandb`."""
        self._workdir, self._config, self._say = workdir, config, say
        self._environment = wandb_environment()
        self.mode = effective_mode(config, self._environment)
        self._process: subprocess.Popen[str] | None = None
        self._told: dict[str, str] = {}
        self._warned = False
        self._news = threading.Condition()

    def start(self) -> None:
        """Starts the process where W&B is on; once."""
        if self._process is not None or self.mode == "disabled":
            return
        try:
            self._process = self._popen()
            threading.Thread(target=self._listen, daemon=True).start()
        except (OSError, RuntimeError) as error:
            self.mode = "disabled"
            self._warn(f"its process cannot be started ({error})")

    def close(self, *, finished: bool) -> str | None:
        """Ends the process; returns a line on where the run is. finished: the results are in the workdir."""
        if self._process is None:
            return None
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._wait_for("logged", seconds=_SECONDS_TO_WRITE if finished else _SECONDS_TO_STOP)
        told = self._told
        if finished and self.mode == "online":
            with contextlib.suppress(Interrupted):  # the run is done: a signal only ends the waiting
                self._wait_for("uploaded", "failed", "silent", seconds=self._config.wait)
        if "uploaded" in told:
            return told.get("url", "uploaded")
        logs = unsynced(self._workdir / "wandb")
        if "segment" in told and (own := self._workdir / "wandb" / told["segment"]) not in logs:
            logs.append(own)  # the client also marks what it failed to upload
        if not logs:
            return "none: the run's own record in the workdir is complete"
        command = shlex.join(["wandb", "sync", *map(str, logs)])
        if self.mode == "offline" or told.keys() & {"failed", "silent"}:
            return command
        return f"{told.get('url', 'it')} is being uploaded; where that is cut off: {command}"

    def _popen(self) -> subprocess.Popen[str]:
        folder = make_folder(self._workdir.resolve() / "wandb")
        resumes = json.loads((folder.parent / "run.json").read_bytes())["resumes"]
        job = {"workdir": str(folder.parent), "online": self.mode == "online", "resumes": resumes}
        withheld = _NOT_PASSED_ON - ({"WANDB_RUN_ID"} if _swept(self._environment) else set())
        inherited = {name: value for name, value in self._environment.items() if name not in withheld}
        # The rows are opened here: a training that resumes this one replaces the file, whose rows are not for
        # this process to log.
        with (
            open_to_append(folder / "writer.log") as log,
            (folder.parent / "metrics.jsonl").open("rb") as rows,
        ):
            job["rows"] = rows.fileno()
            return subprocess.Popen(
                [sys.executable, "-m", "mnist_jax.reporting.wandb.writer", json.dumps(job)],
                pass_fds=[rows.fileno()],
                stdin=subprocess.PIPE,  # whose end tells that the training ended, however it did
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment({**inherited, **_settings(folder), "WANDB_MODE": self.mode}),
                process_group=0,  # Ctrl-C is for the training; in another session niceness would not count
            )

    def _wait_for(self, *words: str, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._told.keys() & {*words, "ended"}, seconds)

    def _listen(self) -> None:
        """Takes what the process tells: a word and the rest of the line."""
        assert self._process
        assert self._process.stdout
        for line in self._process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word in ("failed", "silent"):
                self._warn(rest or "the server does not answer")
            self._take(word, rest)
        if self._process.wait() != 0:
            self._warn(f"its process ended; {self._workdir / 'wandb' / 'writer.log'} has more")
            self._take("failed", "")
        self._take("ended", "")

    def _take(self, word: str, rest: str) -> None:
        with self._news:
            self._told[word] = rest
            if word == "url":  # late, but it answers
                self._told.pop("silent", None)
            self._news.notify_all()

    def _warn(self, what: str) -> None:
        """Says what is wrong, once."""
        if not self._warned:
            self._warned = True
            self._say(f"W&B: {what}; the run goes on, and its own record is complete")


def _swept(environment: Mapping[str, str]) -> str | None:
    """The id that the agent of a W&B sweep gives a run; in a sweep the client takes no other."""
    return environment.get("WANDB_RUN_ID") if environment.get("WANDB_SWEEP_ID") else None


def _settings(folder: pathlib.Path) -> dict[str, str]:
    return {
        # What W&B would stage in the user's home, by absolute path.
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1",  # a kill loses a second, not fifteen
        "WANDB_ERROR_REPORTING": "false",  # nothing waits for a telemetry host
        # `Upload` reads what the client says.
        "WANDB_SILENT": "false",
        "WANDB_QUIET": "false",
    }
