"""The terminal: lines for the person at it, and nothing of what libraries say to themselves."""

import contextlib
import logging
import os
import sys
import warnings
from typing import Any

from absl import logging as absl_logging
from rich.console import Console as RichConsole
from rich.table import Table

from mnist_jax.system import distributed
from mnist_jax.system.output import printable


class Terminal(RichConsole):
    """Standard output. What it does not take, since it is full or its reader is gone, is dropped."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def print(self, *objects: Any, **options: Any) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            super().print(*objects, **options)

    def say(self, text: str) -> None:
        """Prints a line of text, whatever is in it."""
        self.print(printable(text))


class TextTable(Table):
    """A table whose title and cells show themselves, whatever is in them."""

    def __init__(self, title: str | None = None, **options: Any):
        super().__init__(title=title and printable(title), **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(printable(cell) for cell in cells), **options)


def tell(text: str) -> None:
    """A line for the person at the terminal."""
    Terminal().say(text)


def warn(text: str) -> None:
    """A line for the person at the terminal about what is not as it should be; of several processes the
    first tells it.
    """
    if distributed.is_first():
        with contextlib.suppress(OSError, UnicodeError):
            print(printable(text), file=sys.stderr)


def quiet_libraries() -> None:
    """Keeps what libraries say to themselves out of the terminal."""
    # What goes wrong in them comes as an exception too, and is told once, by `_report`.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger().setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or TensorFlow says that it uses them
    warnings.simplefilter("ignore")
