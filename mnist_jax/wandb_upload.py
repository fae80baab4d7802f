"""Uploads the log that `wandb_writer` writes, as it grows, by the client's own `wandb beta sync`."""

import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable

import filelock

_SECONDS_TO_CONNECT = 10.0


class Upload:
    """What earlier processes of the run left behind first, then the log of this one, until it ends.

    A log that was uploaded has a file `.synced` beside it. Another upload from this workdir, still at work
    for a process that was killed, is waited for.
    """

    def __init__(self, segment: pathlib.Path, tell: Callable[[str, str], None]):
        """segment: the folder of this process's log. tell: takes a word and a text, see `poll`."""
        folder = segment.parent
        left = [
            path for path in sorted(folder.glob("offline-run-*")) if path != segment and not _synced(path)
        ]
        self._segments, self._live, self._tell = [*left, segment], segment, tell
        self._log = folder / "upload.log"
        self._lock = filelock.FileLock(folder / ".upload.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._read = self._log.stat().st_size if self._log.exists() else 0
        self.failed = self.connected = self.unanswered = False
        self._started = time.monotonic()

    def poll(self) -> bool:
        """Goes on with what is to do; whether that is done.

        Tells "url URL" when the server has the run, and "failed WHY" when it refuses or does not answer.
        """
        if self._process is None and not self._start():
            return not self._segments
        ended = self._process is not None and self._process.poll() is not None
        self._listen()
        late = time.monotonic() - self._started > _SECONDS_TO_CONNECT
        if late and not (self.connected or self.failed or self.unanswered):
            self._tell("failed", "the server does not answer")
        self.unanswered = late and not self.connected
        if ended:
            self._process = None
            if self.failed:
                self._segments = []
                for mark in self._live.glob("*.synced"):  # the client makes it also where it failed
                    mark.unlink()
        return self._process is None and not self._segments

    def stop(self) -> None:
        """Ends the upload where it is."""
        self._segments = []
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._lock.release()

    def _start(self) -> bool:
        if not self._segments:
            return False
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        segment = self._segments.pop(0)
        # Only of the log that is being written: it would wait for the end of one that was cut off.
        live = ["--live"] if segment == self._live else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wandb", "beta", "sync", "--yes", *live, str(segment)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return True

    def _listen(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read += len(lines)
        for line in lines.decode(errors="replace").splitlines():
            if found := re.search(r"View run .* at (\S+)$", line):
                self.connected = True
                self._tell("url", found[1])
            elif found := re.search(r"wandb: ERROR (?:\[\S+\] )?(.*)", line):
                self.failed = True
                self._tell("failed", f"the upload failed ({found[1].rstrip('.')})")


def _synced(segment: pathlib.Path) -> bool:
    return any(segment.glob("*.synced"))
