"""`--import=MODULE`: a module of the user's, imported because the user names it."""

import importlib
import os
import pathlib
import sys

from mnist_jax.system.errors import UserError, one_line


def import_own(name: str) -> None:
    """Imports a module, or a Python file, that registers models or data sets.

    Args:
        name: Dotted, of a module in the working folder or installed; or the path of a .py file.

    Raises:
        UserError: It does not exist, or raises an exception.
    """
    folder, module = os.getcwd(), name
    if name.endswith(".py"):
        path = pathlib.Path(name).expanduser().absolute()
        if not path.is_file():
            raise UserError(f"--import={name}: there is no such file")
        folder, module = str(path.parent), path.stem
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except Exception as error:  # it is the user's code, so it can raise anything
        raise UserError(f"--import={name}: {one_line(error)}") from error
