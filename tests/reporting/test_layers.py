"""The table of layers of `--summary`."""

import re

import pytest
from jax import tree

from mnist_jax.cli.config_flag import get_config
from mnist_jax.config.validation import validate
from mnist_jax.models import abstract_model
from mnist_jax.reporting.layers import layers, print_layers


@pytest.mark.parametrize("name", ["digits", "mnist_fast", "cifar10_best"])
def test_the_layers_have_all_parameters_in_the_order_of_their_calls(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    config, shape = validate(get_config(name)), (32, 32, 3)
    found = layers(config, shape, 10)
    _, params, _ = abstract_model(config, shape, 10)
    assert sum(layer.parameters for layer in found) == sum(leaf.size for leaf in tree.leaves(params))
    assert [layer.output for layer in found if layer.name == "output"] == [(10,)]
    assert found[0].name.endswith("convs/0")
    print_layers(found, "x")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.search(r"total .*\d", lines[-2])
