"""Errors as one line on standard error, and as an exit status."""

import contextlib
import gc
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
        name: The program's name, printed before its errors.
        program: Returns its status; None for 0.
        verbose: Whether to print the traceback of an error.

    Returns:
        The program's own status; 1 if its output is its result and was lost; 2 after a user's error. If a run
        was stopped, lost another process, or ran out of disk or memory, the process ends here.
    """

    def report(error: BaseException, line: str | None = None) -> None:
        if verbose():
            traceback.print_exception(error)
        text = f"{name}: {output.printable(line or one_line(error))}"
        print(output.filled(text, sys.stderr), file=sys.stderr)

    output.protect()
    try:
        with _stopped_by_ctrl_c(name):
            status = program() or 0
        sys.stdout.flush()
        gc.freeze()  # otherwise the interpreter's end searches all objects for garbage, which takes 0.4 s
        return status
    except output.OutputLost as error:
        if not isinstance(error.__cause__, BrokenPipeError):  # the reader closed it, as `head` does
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
    """Ends the process at once on SIGINT, unless `Interrupts` or a server handles it.

    Not by an exception, which libraries lose, or on which they crash, if C++ called the Python code.
    """

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        with contextlib.suppress(RuntimeError):  # the signal interrupted another print
            print(f"{name}: stopped by SIGINT", file=sys.stderr)
        _leave(128 + signum)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not ignored
    if usual:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(status: int) -> NoReturn:
    """Ends the process at once; everything that matters is saved.

    The interpreter's own shutdown would tear down JAX while threads still compile, which can crash, and in a
    job of several processes it would wait for a lost one.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(RuntimeError):  # a signal interrupted a print
            stream.flush()
    os._exit(status)
