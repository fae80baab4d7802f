"""The real MNIST, through TFDS from its original files, where they are."""

import json
import signal
import subprocess

import numpy as np
import pytest
from conftest import ROOT, command, run_main
from test_train import wait_for_step

ONE_EPOCH = ("--config.train.epochs=1", "--config.schedule.warmup=0.3", "--config.checkpoint.every_steps=100")


@pytest.fixture(scope="module")
def flags(real_mnist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    return (
        "--config=configs/mnist.py",
        f"--config.data.manual_dir={real_mnist}",
        f"--config.data.data_dir={folder / 'tfds'}",
        f"--config.data.cache_dir={folder / 'cache'}",
        *ONE_EPOCH,
    )


@pytest.fixture(scope="module")
def record(flags, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "mnist"
    done = run_main(*flags, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads((workdir / "run.json").read_text())


def test_one_epoch_is_accurate(record):
    assert record["data"]["name"] == "mnist/3.0.1"
    assert {role: split["examples"] for role, split in record["data"]["splits"].items()} == {
        "train": 55_000,
        "validation": 5_000,
        "test": 10_000,
    }
    assert record["metrics"]["test"]["accuracy"] >= 0.985
    assert np.sum(record["metrics"]["test"]["confusion"]) == 10_000


def test_a_killed_run_ends_with_the_same_bits(record, flags, tmp_path):
    process = subprocess.Popen(command(*flags, f"--workdir={tmp_path}"), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for_step(process, tmp_path, 250)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run_main(*flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "run.json").read_text())
    assert again["params_sha256"] == record["params_sha256"]
    assert again["metrics"] == record["metrics"]
