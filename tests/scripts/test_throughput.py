import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark import throughput
from conftest import ROOT, run_script

from mnist_jax import models
from mnist_jax.config.validation import validate
from mnist_jax.system import devices
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


def test_the_flops_of_a_step_are_those_that_xla_counts(tiny_config):
    tiny_config.model.update(widths=(32, 64), dense=256, norm="none", kernel=3, dropout=0.0)
    config = validate(tiny_config)
    graphdef, params, state = models.create_model(
        config, np.zeros((1, 28, 28, 1), np.uint8), 10, jax.random.key(0)
    )

    def loss(params, images):
        return models.apply_model(graphdef, params, state, images, train=True)[0].sum()

    step = jax.jit(jax.grad(loss)).lower(params, jnp.zeros((8, 28, 28, 1))).compile()
    counted = step.cost_analysis()["flops"] / 8
    assert throughput.flops_per_image() == pytest.approx(counted, rel=0.1)


def test_peers_are_left_out_unless_asked_for_and_installed(monkeypatch):
    ours = ["mnist_jax", "mnist_jax plain"]
    assert [program.name for program in throughput.installed(peers=False)] == ours
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [program.name for program in throughput.installed(peers=True)] == ours
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert [program.name for program in throughput.installed(peers=True)][2:] == [
        "torch",
        "torch.compile",
        "keras tensorflow",
    ]


def test_the_graph_of_a_step_is_compared_with_on_a_gpu(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(devices, "on_gpu", lambda: True)
    assert "torch CUDA graph" in [program.name for program in throughput.installed(peers=True)]
    monkeypatch.setattr(devices, "on_gpu", lambda: False)
    assert "torch CUDA graph" not in [program.name for program in throughput.installed(peers=True)]


def test_a_worker_that_dies_is_named(monkeypatch):
    program = throughput.Program("broken", ("no_such_file.py",))
    with pytest.raises(UserError, match="broken ended with status 2"):
        throughput.Worker(program, 8, "float32")


@pytest.mark.long
def test_throughput_is_measured_and_printed():
    done = run_script("benchmark", "throughput", "--batch=8", "--steps=4", "--repeats=2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours = found["mnist_jax"]
    assert ours["peak_memory_bytes"] > 1e8  # JAX alone takes that
    assert 0 < ours["low"] <= ours["images_per_second"] <= ours["high"]
    assert found["peers"] == {}
    assert found["best_peer_ratio"] is None
    assert found["matmul_flop_per_second"] > 1e9


def test_the_memory_is_that_of_the_process_and_not_of_its_parent():
    held = bytearray(500_000_000)  # in the parent
    held[::4096] = b"x" * len(held[::4096])
    code = """
import worker
before = worker.peak_memory_bytes()
held = b"x" * 200_000_000
del held
print(before, worker.peak_memory_bytes())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "scripts" / "benchmark" / "peers",
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    assert before < 200_000_000
    assert after - before == pytest.approx(200_000_000, rel=0.05)
