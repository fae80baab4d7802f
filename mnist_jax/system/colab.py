"""The packages that Colab lacks for this program, without breaking its own."""

import importlib.metadata
import tomllib
from collections.abc import Collection

from mnist_jax.system.installation import ROOT

# Packages beside jax in a runtime for one of these accelerators.
_PLUGINS = {"libtpu": "tpu", "jax-cuda13-plugin": "cuda13", "jax-cuda12-plugin": "cuda12"}


def requirements(installed: Collection[str]) -> list[str]:
    """The requirements for pip beside a checkout, in a runtime with these packages.

    pip keeps packages that are new enough, such as the runtime's own jax. If that is too old, it is upgraded
    together with its plugin for the same accelerator.
    """
    known = {name.lower().replace("_", "-") for name in installed}
    needed = _dependencies()
    extra = next((extra for plugin, extra in _PLUGINS.items() if plugin in known), None)
    if extra is None:
        return needed
    return [one.replace("jax>", f"jax[{extra}]>") if one.startswith("jax>") else one for one in needed]


def _dependencies() -> list[str]:
    """The requirements in pyproject.toml of a checkout, or in the metadata of an installed package."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text())["project"]["dependencies"]
    return [one for one in importlib.metadata.requires("mnist_jax") or [] if "extra ==" not in one]
