"""What Colab lacks to run this program, without breaking what it has."""

import importlib.metadata
import tomllib
from collections.abc import Collection

from mnist_jax.system.installation import ROOT

# What a runtime that was made for one of them has beside jax.
_PLUGINS = {"libtpu": "tpu", "jax-cuda13-plugin": "cuda13", "jax-cuda12-plugin": "cuda12"}


def requirements(installed: Collection[str]) -> list[str]:
    """What pip has to be asked for beside a checkout, in a runtime with these packages.

    pip leaves alone what is new enough, the runtime's own jax among it; where that is too old, it is renewed
    together with its plugin for the same accelerator.
    """
    known = {name.lower().replace("_", "-") for name in installed}
    needed = _dependencies()
    extra = next((extra for plugin, extra in _PLUGINS.items() if plugin in known), None)
    if extra is None:
        return needed
    return [one.replace("jax>", f"jax[{extra}]>") if one.startswith("jax>") else one for one in needed]


def _dependencies() -> list[str]:
    """What pyproject.toml of a checkout lists, or the metadata of an installed package."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text())["project"]["dependencies"]
    return [one for one in importlib.metadata.requires("mnist_jax") or [] if "extra ==" not in one]
