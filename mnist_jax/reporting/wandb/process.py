"""Weights & Biases as the training process sees it: a process of its own, which training never waits for.

`writer` runs there. It reads the files of the workdir, so a client that fails, hangs or dies costs the
training neither time nor data, and the log is complete when the training is killed.
"""

import contextlib
import json
import os
import pathlib
import secrets
import select
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
from mnist_jax.system.terminal import follow_transcript

_SECONDS_TO_WRITE = 60.0  # the predictions of ten thousand examples take one
_SECONDS_TO_STOP = 3.0  # a person waits for an interrupted run to end
_NOT_PASSED_ON = {"WANDB_RESUME", "WANDB_RUN_ID"}  # which this program decides


def new_run_id(environment: Mapping[str, str]) -> str:
    """The id of a new run: that of the agent of a W&B sweep, else a random one."""
    return _swept(environment) or secrets.token_hex(4)


class WandbProcess:
    """The process that writes a run's W&B log and uploads it."""

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
        self._reports: dict[str, str] = {}
        self._warned = False
        self._news = threading.Condition()

    def start(self, *, transcript: bool) -> None:
        """Starts the process, unless W&B is off or the process was started before.

        Args:
          transcript: whether what this program prints is about this run, and goes to W&B's Logs tab.
        """
        if self._process is not None or self.mode == "disabled":
            return
        try:
            self._process = self._popen()
            threading.Thread(target=self._listen, daemon=True).start()
        except (OSError, RuntimeError) as error:
            self.mode = "disabled"
            self._warn(f"its process cannot be started ({error})")
            return
        if transcript:
            follow_transcript(self._pass_on)

    def close(self, *, finished: bool) -> str | None:
        """Ends the process.

        Args:
          finished: whether the results are in the workdir.

        Returns:
          one line: where the W&B run is, or how to upload it; None if W&B is off.
        """
        if self._process is None:
            return None
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._wait_for("logged", seconds=_SECONDS_TO_WRITE if finished else _SECONDS_TO_STOP)
        reports = self._reports
        if finished and self.mode == "online":
            with contextlib.suppress(Interrupted):  # the run is done: a signal only ends the wait
                self._wait_for("uploaded", "failed", "silent", seconds=self._config.wait)
        if "uploaded" in reports:
            return reports.get("url", "uploaded")
        logs = unsynced(self._workdir / "wandb")
        if "segment" in reports and (own := self._workdir / "wandb" / reports["segment"]) not in logs:
            logs.append(own)  # the client also marks what it failed to upload
        if not logs:
            return "no log; the run's own record in the workdir is complete"
        command = shlex.join(["wandb", "sync", *map(str, logs)])
        if self.mode == "offline" or reports.keys() & {"failed", "silent"}:
            return command
        return f"{reports.get('url', 'the run')} is being uploaded; if the upload is cut off: {command}"

    def _popen(self) -> subprocess.Popen[str]:
        folder = make_folder(self._workdir.resolve() / "wandb")
        resumes = json.loads((folder.parent / "run.json").read_bytes())["resumes"]
        job = {
            "workdir": str(folder.parent),
            "online": self.mode == "online",
            "resumes": resumes,
            "pid": os.getpid(),
        }
        withheld = _NOT_PASSED_ON - ({"WANDB_RUN_ID"} if _swept(self._environment) else set())
        inherited = {name: value for name, value in self._environment.items() if name not in withheld}
        # Opened here: a later training process replaces the file, and its rows are not for this writer.
        with (
            open_to_append(folder / "writer.log") as log,
            (folder.parent / "metrics.jsonl").open("rb") as rows,
        ):
            job["rows"] = rows.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", "mnist_jax.reporting.wandb.writer", json.dumps(job)],
                pass_fds=[rows.fileno()],
                stdin=subprocess.PIPE,  # its end is the end of the training, also of a killed one
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment({**inherited, **_settings(folder), "WANDB_MODE": self.mode}),
                process_group=0,  # Ctrl-C is for the training; in another session niceness would not count
            )
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _pass_on(self, line: str) -> None:
        """Sends a printed line to the process; dropped if the pipe is full."""
        assert self._process
        assert self._process.stdin
        data = line.encode(errors="replace")
        if len(data) >= select.PIPE_BUF:  # up to which a pipe takes a line whole; not cut within a key
            data = data[: select.PIPE_BUF - 1].rpartition(b" ")[0]
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            os.write(self._process.stdin.fileno(), data + b"\n")

    def _wait_for(self, *words: str, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._reports.keys() & {*words, "ended"}, seconds)

    def _listen(self) -> None:
        """Reads the lines of the process: a word and a text."""
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
            self._reports[word] = rest
            if word == "url":  # the server answers, if late
                self._reports.pop("silent", None)
            self._news.notify_all()

    def _warn(self, problem: str) -> None:
        """Prints the first problem."""
        if not self._warned:
            self._warned = True
            self._say(f"W&B: {problem}; the run continues, and its own record is complete")


def _swept(environment: Mapping[str, str]) -> str | None:
    """The id that the agent of a W&B sweep gives a run; in a sweep the client accepts no other."""
    return environment.get("WANDB_RUN_ID") if environment.get("WANDB_SWEEP_ID") else None


def _settings(folder: pathlib.Path) -> dict[str, str]:
    return {
        # Not in the user's home, where the client stages files by absolute path.
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1",  # a kill loses a second, not fifteen
        "WANDB_ERROR_REPORTING": "false",  # nothing waits for a telemetry host
        # `Upload` reads what the client prints.
        "WANDB_SILENT": "false",
        "WANDB_QUIET": "false",
    }
