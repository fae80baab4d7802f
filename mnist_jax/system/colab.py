"""The packages that Colab lacks to run this program, without breaking those that it has."""

import importlib.metadata
import tomllib
from collections.abc import Collection

from mnist_jax.system.installation import ROOT

# The packages of runtimes for each accelerator, in addition to jax.
_PLUGINS = {"libtpu": "tpu", "jax-cuda13-plugin": "cuda13", "jax-cuda12-plugin": "cuda12"}


def requirements(installed: Collection[str]) -> list[str]:
    """The requirements to give to pip, in addition to a checkout, in a runtime with these packages.

    pip keeps what is new enough, such as the runtime's own jax; an older jax is updated together with its
    plugin for the same accelerator.
    """
    known = {name.lower().replace("_", "-") for name in installed}
    needed = _dependencies()
    extra = next((extra for plugin, extra in _PLUGINS.items() if plugin in known), None)
    if extra is None:
        return needed
    return [one.replace("jax>", f"jax[{extra}]>") if one.startswith("jax>") else one for one in needed]


def _dependencies() -> list[str]:
    """The dependencies in pyproject.toml of a checkout, or in the metadata of an installed package."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text())["project"]["dependencies"]
    return [one for one in importlib.metadata.requires("mnist_jax") or [] if "extra ==" not in one]
