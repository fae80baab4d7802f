"""Standard output and error that take every text, and that never end a run when they cannot be written."""

import contextlib
import io
import os
import re
import select
import sys
from typing import Any

# Control characters, among them those of escape sequences; line separators; what turns the direction of
# text; and the surrogates that Python makes of a name's bytes that are not UTF-8.
_UNSAFE = re.compile(r"[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class OutputLost(Exception):
    """Standard output cannot be written, although it is the result of the command."""


def printable(text: str) -> str:
    """A text as one line that only shows itself: a character that does something else is escaped (\\x1b)."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def protect() -> None:
    """Makes `sys.stdout` and `sys.stderr` of this process such that no print raises.

    What an encoding lacks is escaped; what a closed, full or broken output does not take is dropped. Streams
    that a test or a notebook has put in their place stay.
    """
    _open_closed()
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        if before is getattr(sys, f"__{name}__"):
            setattr(sys, name, stream(descriptor, before))


def require_output() -> None:
    """From now on a failed write to standard output raises OutputLost: it is what the command is for."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.required = True


class _Output(io.FileIO):
    """A descriptor that takes every write; where it is `required`, the first that fails raises OutputLost."""

    required = False

    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:  # another process made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            if self.required:
                self.required = False  # for the flush at the end
                raise OutputLost(f"standard output cannot be written: {error.strerror}") from error
            return len(data)
        return written


def stream(descriptor: int, before: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """A text stream of a descriptor that takes every text; before: Python's own, None where it was closed."""
    raw = _Output(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=before is None or before.line_buffering or before.write_through,
    )


def _open_closed() -> None:
    """Gives each standard stream that is closed a descriptor, which a file of the run would have otherwise.

    That of an output is open for reading alone, so that a write still fails.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
