"""Whole sweeps on the command line, as a user runs, kills and starts them again."""

import json
import os
import pathlib
import signal
import time

import launcher
import pytest
from conftest import TINY

pytestmark = pytest.mark.whole

SWEEP = """
def get_sweep():
    return {
        "slow": {"seed": 1, "train.epochs": 12},
        "plain": {"seed": 2},
        "diverges": {"optimizer.learning_rate": 1e9},
    }
"""


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP)
    return [
        "-m",
        "mnist_jax",
        "sweep",
        *TINY,
        f"--sweep={tmp_path / 'sweep.py'}",
        f"--workdir={tmp_path / 'runs'}",
    ]


def start(sweep, *arguments):
    return launcher.start([*sweep, *arguments])


def hashes(folder: pathlib.Path) -> dict[str, str]:
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    return {name: record.get("params_sha256") for name, record in records.items()}


def wait_until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that within a minute")


def children(pid: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(child)
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_a_sweep_killed_twice_ends_with_the_same_bits(sweep, run_once, tmp_path):
    checkpoints = tmp_path / "runs" / "slow" / "checkpoints"
    first = start(sweep)
    wait_until(lambda: checkpoints.is_dir() and any(name.isdigit() for name in os.listdir(checkpoints)))
    runs = children(first.pid)
    assert runs
    for pid in (first.pid, *runs):  # as when the machine goes down
        os.kill(pid, signal.SIGKILL)
    first.communicate()

    second = start(sweep)
    wait_until(
        lambda: len(json.loads((tmp_path / "runs" / "slow" / "run.json").read_text())["processes"]) == 2
    )
    second.kill()  # what it had started is left behind, at work
    second.communicate()

    third = start(sweep)
    out, err = third.communicate(timeout=300)
    assert third.returncode == 1, err  # one of them diverges
    assert "[3/3]" in out
    assert "1 failed: diverges;" in err
    assert "the loss is" in out
    found = hashes(tmp_path / "runs")
    assert found["diverges"] is None
    for name, seed, epochs in (("slow", 1, 12), ("plain", 2, 2)):
        whole, _ = run_once(f"seed {seed}", *TINY, f"--config.seed={seed}", f"--config.train.epochs={epochs}")
        assert found[name] == json.loads((whole / "run.json").read_text())["params_sha256"]


def test_members_trained_at_once_are_told_when_they_fail(sweep, tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP.replace(', "train.epochs": 12', ""))
    process = start(sweep, "--vmap")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "[1/1] population_0  test accuracy" in out
    assert "1 failed: population_0/diverges; " in err
    where = tmp_path / "runs" / "population_0" / "diverges" / "run.json"
    assert str(where) in err
    assert json.loads(where.read_text())["exit_reason"].startswith("the loss is")
    process = start(sweep, "--search=optuna", "--list")
    _, err = process.communicate()
    assert process.returncode == 2
    assert "--search must be given without --list, --member and --vmap" in err


def test_ctrl_c_saves_what_runs_and_the_sweep_goes_on(sweep, tmp_path):
    process = start(sweep, "--member=slow")
    history = tmp_path / "runs" / "slow" / "metrics.jsonl"
    wait_until(lambda: history.exists() and history.read_text().count("\n") > 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().endswith("is saved: the same command resumes there")
    record = json.loads((tmp_path / "runs" / "slow" / "run.json").read_text())
    assert record["status"] == "interrupted"
    again = start(sweep, "--member=slow")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "[1/1] slow  test accuracy" in out
    assert json.loads((tmp_path / "runs" / "slow" / "run.json").read_text())["resumes"] == 1
    assert not (tmp_path / "runs" / "plain").exists()


def test_members_are_shown_and_chosen_by_place(sweep, tmp_path):
    out, _ = start(sweep, "--list").communicate()
    assert out.splitlines()[1] == "plain: --config.seed=2"
    assert not (tmp_path / "runs").exists()
    process = start(sweep, "--member=1", "--jobs=1")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "plain" in out
    config = json.loads((tmp_path / "runs" / "plain" / "run.json").read_text())["config"]
    assert config["model"]["widths"] == [8, 8]  # the base's, from the command line
    assert config["wandb"]["group"] == "runs"
    process = start(sweep, "--member=9")
    _, err = process.communicate()
    assert process.returncode == 2
    assert "--member=9 must be a member of the sweep; --list prints its 3 members" in err
