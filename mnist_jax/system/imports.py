"""Imports: of a module of the user by `--import=MODULE`, and of large libraries."""

import contextlib
import gc
import importlib
import os
import pathlib
import sys
from collections.abc import Iterator

from mnist_jax.system.errors import UserError, one_line


def import_own(name: str) -> None:
    """Imports a module, or a Python file, that registers models or data sets.

    Args:
        name: The dotted name of a module that is in the working folder or installed, or the path of a .py
            file.

    Raises:
        UserError: It does not exist, or raises an exception.
    """
    folder, module = os.getcwd(), name
    if name.endswith(".py"):
        path = pathlib.Path(name).expanduser().absolute()
        if not path.is_file():
            raise UserError(f"--import={name} must be a file")
        folder, module = str(path.parent), path.stem
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except Exception as error:  # code can raise anything
        raise UserError(f"--import={name}: {one_line(error)}") from error


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the garbage collector from the objects that imports make, now and later: they stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
