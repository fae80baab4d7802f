"""What reaches the user as a single line: mistakes, and what the machine does not give."""

import errno
import os
import signal
from collections.abc import Iterator

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
_PATH = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")


class UserError(Exception):
    """A mistake that the user can mend: the message is one line that says what is wrong and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class PeerLost(UserError):
    """Another process of the same job is gone, so that this one cannot end in an orderly way."""


class Interrupted(BaseException):
    """The run was told to stop; its exit status is 128 + `signum`, as a shell counts."""

    def __init__(self, signum: int, hint: str):
        super().__init__(f"stopped by {signal.Signals(signum).name}; {hint}")
        self.signum = signum


def one_line(error: BaseException) -> str:
    """An exception's message with its line breaks gone, under its type's name where that is news."""
    text = " ".join(str(error).split())
    if isinstance(error, (UserError, Interrupted)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def circumstance(error: BaseException) -> str | None:
    """One line where an exception comes of a disk or memory that is full or failing, or of a path that cannot
    be used; None for others.
    """
    if isinstance(error, OSError) and error.errno in _PATH and error.filename:
        reason = os.strerror(error.errno)
        return f"{os.fsdecode(error.filename)} cannot be used: {reason}; mend that, or give another"
    for one in _chain(error):
        text = str(one)
        if os.strerror(errno.EMFILE) in text:
            return f"{os.strerror(errno.EMFILE)}; raise the limit, by `ulimit -n 4096` say"
        if isinstance(one, OSError) and one.errno in _DISK:
            return _disk_line(os.strerror(one.errno), one.filename)
        for number in _DISK:  # what Orbax makes of it
            if os.strerror(number) in text:
                return _disk_line(os.strerror(number), None)
        if isinstance(one, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
            return (
                "out of memory; lower config.train.batch_size or config.evaluation.batch_size, make the "
                "model smaller, or keep images on the host by --config.data.placement=host"
            )
    return None


def _disk_line(what: str, where: str | bytes | None) -> str:
    place = f" at {os.fsdecode(where)}" if where else ""
    return f"{what}{place}; what was saved is whole: mend that, and the same command goes on"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
