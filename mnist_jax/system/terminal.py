"""Output for the user, without the messages of libraries."""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from absl import logging as absl_logging
from rich.console import Console as RichConsole
from rich.control import Control
from rich.table import Table

from mnist_jax.system import distributed
from mnist_jax.system.output import filled, printable


class Terminal(RichConsole):
    """Standard output; text that it does not accept, because it is full or closed, is dropped."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def print(self, *objects: Any, **options: Any) -> None:
        if not any(isinstance(one, Control) for one in objects):  # of a progress bar
            _note(_as_text(objects))
        with contextlib.suppress(OSError, UnicodeError):
            super().print(*objects, **options)

    def say(self, text: str) -> None:
        """Prints a line of text, with control characters escaped."""
        self.print(printable(text))


class TextTable(Table):
    """A table whose title and cells have control characters escaped."""

    def __init__(self, title: str | None = None, **options: Any):
        super().__init__(title=title and printable(title), **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(printable(cell) for cell in cells), **options)


def tell(text: str) -> None:
    """Prints a line."""
    Terminal().say(text)


def warn(text: str) -> None:
    """Prints a warning on standard error; of several processes only the first does."""
    if distributed.is_first():
        if not hasattr(sys.stderr, "rich_proxied_file"):  # which prints by a Terminal, that notes it
            _note(printable(text))
        with contextlib.suppress(OSError, UnicodeError):
            print(filled(printable(text), sys.stderr), file=sys.stderr)


_printed: deque[str] = deque(maxlen=1000)  # lines of the transcript
_follower: Callable[[str], None] | None = None


def start_transcript() -> None:
    """Keeps the lines that are printed from here on, without progress bars, for `follow_transcript`."""
    global _follower
    _follower = None
    _printed.clear()


def follow_transcript(follower: Callable[[str], None]) -> None:
    """Gives a function each line printed since `start_transcript`, at most 1000, and each later one."""
    global _follower
    _follower = follower
    for line in list(_printed):
        follower(line)


def _note(text: str) -> None:
    for line in text.splitlines():
        _printed.append(line)
        if _follower is not None:
            _follower(line)


def _as_text(objects: tuple[Any, ...]) -> str:
    if all(isinstance(one, str) for one in objects):
        return " ".join(objects)
    plain = RichConsole(
        file=io.StringIO(), width=100, highlight=False, markup=False, emoji=False, soft_wrap=True
    )
    with plain.capture() as captured:
        plain.print(*objects)
    return captured.get()


def quiet_libraries() -> None:
    """Keeps the messages of libraries out of the terminal; their errors are exceptions too."""
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger().setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or TensorFlow prints that it uses them
    warnings.simplefilter("ignore")
