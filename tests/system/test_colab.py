"""What is installed in Colab; the notebook itself is run in test_notebooks.py."""

import importlib.metadata

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from mnist_jax.system.colab import requirements


def named(installed):
    return {one.name: one for one in map(Requirement, requirements(installed))}


@pytest.mark.parametrize(
    ("installed", "extras"),
    [
        ({"jax", "jaxlib", "libtpu"}, {"tpu"}),
        ({"jax", "jax-cuda12-plugin", "jax_cuda12_pjrt"}, {"cuda12"}),
        ({"jax", "jax_cuda13_plugin"}, {"cuda13"}),
        ({"jax", "jaxlib"}, set()),
        (set(), set()),
    ],
)
def test_jax_stays_the_kind_that_the_runtime_has(installed, extras):
    needed = named(installed)
    assert needed["jax"].extras == extras
    assert {"flax", "optax", "orbax-checkpoint", "wandb"} <= needed.keys()
    if extras:
        assert extras <= set(importlib.metadata.metadata("jax").get_all("Provides-Extra"))


def test_tensorflow_is_not_needed():
    assert not {"tensorflow", "tensorflow-cpu"} & named({"jax"}).keys()


def test_it_needs_what_the_package_needs():
    text = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{one}"' in text for one in requirements(set()))
