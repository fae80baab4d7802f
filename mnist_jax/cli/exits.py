"""Errors as one line on standard error, and as an exit status."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
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
        return 2
    except Interrupted as error:
        report(error)
        _leave(128 + error.signum)
    except KeyboardInterrupt as error:  # where no checkpoint is at stake
        report(error, f"stopped by {signal.Signals.SIGINT.name}")
        _leave(128 + signal.SIGINT)
    except Exception as error:
        if line := circumstance(error):
            report(error, line)
            _leave(2)
        if distributed.count() == 1:
            raise
        traceback.print_exc()
        _leave(1)


def _leave(status: int) -> NoReturn:
    """Ends the process at once, for a run that ended anywhere, with all that matters saved.

    The interpreter's own end would take JAX apart under threads that still compile, and can crash there; of
    several processes it would wait for one that is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
