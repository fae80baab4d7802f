"""Where this program's files are, in a checkout as in an installed package."""

import os
import pathlib
import sysconfig
from collections.abc import Mapping

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# The checkout, or the folder of installed packages.
ROOT = PACKAGE.parent


def configs_folder() -> pathlib.Path:
    """The folder of the configs that come with the program: in the package where it is installed."""
    packaged = PACKAGE / "configs"
    return packaged if packaged.is_dir() else ROOT / "configs"


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a new Python process imports this copy of the package.

    Args:
        environment: What the process gets otherwise.

    Returns:
        The same with ROOT first in PYTHONPATH. The folder of installed packages needs no such entry, which
        would put it before the standard library.
    """
    if str(ROOT) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(environment)
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    return {**environment, "PYTHONPATH": path}
