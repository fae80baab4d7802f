"""Uploads the log that `writer` writes, as it grows, by the client's own `wandb beta sync`."""

import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable

import filelock

from mnist_jax.system.files import open_to_append

_SECONDS_TO_ANSWER = 10.0


class Upload:
    """Uploads the logs of earlier processes of the run, and then that of this one until it ends.

    An uploaded log has a file `.synced` beside it. If another upload from this workdir is running, left by a
    process that was killed, this one waits for it.
    """

    def __init__(self, segment: pathlib.Path, tell: Callable[[str, str], None]):
        """Uploads nothing yet.

        Args:
          segment: the folder of this process's log.
          tell: called with a word and a text, see `poll`.
        """
        self._segment, self._tell = segment, tell
        self._left = [*unsynced(segment.parent, but=segment), segment]
        self._current = segment
        self._log = segment.parent / "upload.log"
        self._lock = filelock.FileLock(segment.parent / ".upload.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0
        self._started: float | None = None
        self.connected = self.failed = self.silent = False
        self._refused = False  # of the current log

    def poll(self) -> bool:
        """Continues the uploads, without waiting.

        Calls `tell` with "url URL" when the server has the run, with "silent" when it does not answer, and
        with "failed WHY" when an upload fails.

        Returns:
          whether all is uploaded.
        """
        if self._process is None and not (self._left and self._start()):
            return not self._left
        assert self._process
        status = self._process.poll()
        self._listen()
        self._check_silence()
        if status is not None:
            self._process = None
            self._check_outcome(status)
        return self._process is None and not self._left

    def stop(self) -> None:
        """Stops the upload."""
        self._left = []
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._lock.release()

    def _start(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        self._current = self._left.pop(0)
        if _synced(self._current):  # by the upload that this one waited for
            return False
        self._read = self._log.stat().st_size if self._log.exists() else 0  # after the output of others
        # Only for the log that is being written: for one that was cut off it would wait forever.
        live = ["--live"] if self._current == self._segment else []
        self._refused = False
        try:
            with open_to_append(self._log) as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "wandb", "beta", "sync", "--yes", *live, str(self._current)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        except OSError as error:
            self._left = []
            self._fail(str(error))
        return self._process is not None

    def _listen(self) -> None:
        """Reads the client's output."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            printed = file.read()
        printed = printed[: printed.rfind(b"\n") + 1]
        self._read += len(printed)
        if printed and self._started is None:  # it tries from here on, after its own start
            self._started = time.monotonic()
        for line in printed.decode(errors="replace").splitlines():
            if found := re.search(r"View run .* at (\S+)$", line):
                self.connected, self.silent = True, False
                self._tell("url", found[1])
            elif found := re.search(r"wandb: ERROR (?:\[\S+\] )?(.*)", line):
                self._fail(found[1])

    def _check_silence(self) -> None:
        late = self._started is not None and time.monotonic() - self._started > _SECONDS_TO_ANSWER
        if late and not (self.connected or self.failed or self.silent):
            self.silent = True
            self._tell("silent", "")

    def _check_outcome(self, status: int) -> None:
        if self._refused:
            for mark in self._current.glob("*.synced"):  # the client makes it also after a failure
                mark.unlink()
        elif status != 0 or not _synced(self._current):
            self._fail(f"its process ended with status {status}")

    def _fail(self, why: str) -> None:
        self.failed = self._refused = True
        self._tell("failed", f"the upload failed ({why.rstrip('.')})")


def unsynced(folder: pathlib.Path, *, but: pathlib.Path | None = None) -> list[pathlib.Path]:
    """The logs in a folder that are not uploaded, the oldest first; but: one that does not count."""
    logs = sorted(folder.glob("offline-run-*"))
    return [log for log in logs if log != but and any(log.glob("*.wandb")) and not _synced(log)]


def _synced(segment: pathlib.Path) -> bool:
    return any(segment.glob("*.synced"))
