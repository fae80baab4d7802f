"""Errors as one line on standard error, and as an exit status."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from mnist_jax.system import distributed
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
        The program's own status, 2 after a user's error, 130 after Ctrl-C. A run that was stopped, that lost
        another process, or that ran out of disk or memory ends the process here.
    """

    def report(error: BaseException, line: str | None = None) -> None:
        if verbose():
            traceback.print_exception(error)
        print(f"{name}: {line or one_line(error)}", file=sys.stderr)

    try:
        status = program() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough, `head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PeerLost as error:
        report(error)
        _leave(1)
    except UserError as error:
        report(error)
        return 2
    except Interrupted as error:
        report(error)
        _leave(128 + error.signum)
    except KeyboardInterrupt:  # before the program was ready for it
        return 130
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
