"""Errors that users see as a single line: their own, and those of the machine."""

import errno
import os
import signal
from collections.abc import Iterator

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
_PATH = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")


class UserError(Exception):
    """An error that the user can fix: the message is one line that says what is wrong and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class PeerLost(UserError):
    """Another process of the same job is gone, so this one cannot end normally."""


class Interrupted(BaseException):
    """A signal stopped the run; its exit status is 128 + `signum`, as in a shell."""

    def __init__(self, signum: int, hint: str):
        super().__init__(f"stopped by {signal.Signals(signum).name}; {hint}")
        self.signum = signum


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, after its type's name if that adds information."""
    text = " ".join(str(error).split())
    if isinstance(error, (UserError, Interrupted)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def circumstance(error: BaseException) -> str | None:
    """One line if an exception is due to a full or failing disk or memory, or an unusable path; else None."""
    if isinstance(error, OSError) and error.errno in _PATH and error.filename:
        reason = os.strerror(error.errno)
        return f"{os.fsdecode(error.filename)} cannot be used: {reason}; fix that, or give another"
    for one in _chain(error):
        text = str(one)
        if os.strerror(errno.EMFILE) in text:
            return f"{os.strerror(errno.EMFILE)}; raise the limit, for example with `ulimit -n 4096`"
        if isinstance(one, OSError) and one.errno in _DISK:
            return _disk_line(os.strerror(one.errno), one.filename)
        for number in _DISK:  # Orbax's form of it
            if os.strerror(number) in text:
                return _disk_line(os.strerror(number), None)
        if isinstance(one, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
            return (
                "out of memory; lower config.train.batch_size or config.evaluation.batch_size, make the "
                "model smaller, or keep images on the host with --config.data.placement=host"
            )
    return None


def _disk_line(what: str, where: str | bytes | None) -> str:
    place = f" at {os.fsdecode(where)}" if where else ""
    return f"{what}{place}; what was saved is whole: fix that, and the same command resumes"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
