import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from mnist_jax import benchmarks, models
from mnist_jax.config import validate
from mnist_jax.errors import UserError


def test_a_timing_is_the_median_and_the_range():
    found = benchmarks.timing([3.0, 1.0, 10.0])
    assert found == (3.0, 1.0, 10.0)
    assert found.spread == 3.0
    assert found.noisy
    assert not benchmarks.timing([100, 101, 102]).noisy


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
    assert benchmarks.flops_per_image() == pytest.approx(counted, rel=0.1)


def test_peers_are_left_out_unless_asked_for_and_installed(monkeypatch):
    ours = ["mnist_jax", "mnist_jax plain"]
    assert [program.name for program in benchmarks.installed(peers=False)] == ours
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [program.name for program in benchmarks.installed(peers=True)] == ours
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert [program.name for program in benchmarks.installed(peers=True)][2:] == [
        "torch",
        "torch.compile",
        "keras tensorflow",
    ]


def test_a_worker_that_dies_is_named(monkeypatch):
    program = benchmarks.Program("broken", ("no_such_file.py",))
    with pytest.raises(UserError, match="broken ended with status 2"):
        benchmarks.Worker(program, 8)


def test_throughput_is_measured_and_printed():
    done = subprocess.run(
        [
            sys.executable,
            "scripts/benchmark.py",
            "throughput",
            "--batch=8",
            "--steps=4",
            "--repeats=2",
            "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours = found["mnist_jax"]
    assert 0 < ours["low"] <= ours["images_per_second"] <= ours["high"]
    assert found["peers"] == {}
    assert found["best_peer_ratio"] is None
    assert found["matmul_flop_per_second"] > 1e9


def test_whole_runs_take_turns():
    done = subprocess.run(
        [
            *(sys.executable, "scripts/benchmark.py", "tracking", "--repeats=1"),
            *("--config.train.epochs=1", "--config.schedule.warmup=0.1"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "W&B offline" in done.stdout
    assert "offline costs" in done.stdout


def test_a_run_that_fails_is_told():
    done = subprocess.run(
        [sys.executable, "scripts/benchmark.py", "startup", "--repeats=1", "--config.train.batch_size=-1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "config.train.batch_size is -1" in done.stderr
    assert "benchmark.py: a run to be timed ended with status 2" in done.stderr.splitlines()[-1]
