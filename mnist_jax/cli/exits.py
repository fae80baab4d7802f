"""Errors as one line on standard error, and as an exit status."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from mnist_jax.system import distributed, output
from mnist_jax.system.errors import Interrupted, PeerLost, UserError, circumstance, one_line


def status_of(
    name: str, program: Callable[[], int | None], verbose: Callable[[], bool] = lambda: False
) -> int:
    """Runs a program and returns its exit status.

    Args:
        name: Of the program, before its errors.
        program: Returns its status, 0 if None.
        verbose: Whether an error is printed with its traceback.

    Returns:
        The program's own status; 1 where its output is its result and is lost, 2 after a user's error. A run
        that was stopped, that lost another process, or that ran out of disk or memory ends the process here.
    """

    def report(error: BaseException, line: str | None = None) -> None:
        if verbose():
            traceback.print_exception(error)
        print(f"{name}: {output.printable(line or one_line(error))}", file=sys.stderr)

    output.protect()
    try:
        with _stopped_by_ctrl_c(name):
            status = program() or 0
        sys.stdout.flush()
        return status
    except output.OutputLost as error:
        if not isinstance(error.__cause__, BrokenPipeError):  # whose reader has seen enough, `head` say
            report(error, str(error))
        return 1
    except PeerLost as error:
        report(error)
        _leave(1)
    except UserError as error:
        report(error)
        if distributed.count() > 1:
            _leave(2)
        return 2
    except Interrupted as error:
        report(error)
        _leave(128 + error.signum)
    except Exception as error:
        if line := circumstance(error):
            report(error, line)
            _leave(2)
        if distributed.count() == 1:
            raise
        traceback.print_exc()
        _leave(1)


@contextlib.contextmanager
def _stopped_by_ctrl_c(name: str) -> Iterator[None]:
    """Ends the process at once, where nothing but `Interrupts` or a server handles SIGINT.

    Not by an exception: libraries lose it, or crash, where it is raised in what C++ calls.
    """

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        with contextlib.suppress(RuntimeError):  # in the midst of another print
            print(f"{name}: stopped by SIGINT", file=sys.stderr)
        _leave(128 + signum)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it may be ignored
    if usual:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(status: int) -> NoReturn:
    """Ends the process at once, for a run that ended anywhere, with all that matters saved.

    The interpreter's own end would take JAX apart under threads that still compile, and can crash there; of
    several processes it would wait for one that is gone.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(RuntimeError):  # a signal came in the midst of a print
            stream.flush()
    os._exit(status)
