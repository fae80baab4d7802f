"""The terminal: lines for the person at it, and nothing of what libraries say to themselves."""

import logging
import os
import sys
import warnings

from absl import logging as absl_logging
from rich.console import Console as RichConsole

from mnist_jax.system import distributed


class Terminal(RichConsole):
    """Standard output that may be closed by its reader, `head` say, without stopping the run.

    Where it is no terminal, tables are as wide as they have to be.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, soft_wrap=True)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = 10_000

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """A line for the person at the terminal."""
    Terminal().print(text, markup=False)


def warn(text: str) -> None:
    """A line for the person at the terminal about what is not as it should be; of several processes the
    first tells it.
    """
    if distributed.is_first():
        print(text, file=sys.stderr)


def quiet_libraries() -> None:
    """Keeps what libraries say to themselves out of the terminal."""
    # What goes wrong in them comes as an exception too, and is told once, by `_report`.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger().setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or TensorFlow says that it uses them
    warnings.simplefilter("ignore")
