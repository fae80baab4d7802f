"""The location of this program's files, in a checkout and in an installed package."""

import os
import pathlib
import sysconfig
from collections.abc import Mapping

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# The checkout, or the folder of installed packages.
ROOT = PACKAGE.parent


def configs_folder() -> pathlib.Path:
    """The folder of the program's configs; in an installed package it is inside the package."""
    packaged = PACKAGE / "configs"
    return packaged if packaged.is_dir() else ROOT / "configs"


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a new Python process imports this copy of the package.

    Args:
        environment: The environment of the process.

    Returns:
        The same with ROOT first in PYTHONPATH. The folder of installed packages needs no such entry, which
        would put it before the standard library.
    """
    if str(ROOT) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(environment)
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    return {**environment, "PYTHONPATH": path}
