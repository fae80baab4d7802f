import argparse
import importlib
import json
import pathlib
import subprocess
import time

import pytest
from benchmark import measures
from conftest import TINY, run_script

pytestmark = pytest.mark.whole

SHORT = (
    *TINY,
    "--config.train.steps=20",
    "--config.schedule.warmup=0.1",
    "--config.train.log_every_steps=10",
)


def test_a_timing_is_the_median_and_the_range():
    found = measures.timing([3.0, 1.0, 10.0])
    assert found == (3.0, 1.0, 10.0)
    assert found.spread == 3.0
    assert found.noisy
    assert not measures.timing([100, 101, 102]).noisy


@pytest.mark.long
def test_whole_runs_take_turns():
    done = run_script("benchmark", "tracking", "--repeats=1", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "W&B offline" in done.stdout
    assert "offline costs" in done.stdout


@pytest.mark.long
def test_a_run_that_fails_is_told():
    done = run_script("benchmark", "startup", "--repeats=1", "--config.train.batch_size=-1")
    assert done.returncode == 2
    assert "config.train.batch_size must be an integer of at least 1 (got -1)" in done.stderr
    assert "benchmark: a run to be timed ended with status 2" in done.stderr.splitlines()[-1]


@pytest.mark.long
def test_accuracy_is_that_of_the_runs():
    done = run_script("benchmark", "accuracy", "--repeats=2", "--json", *SHORT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    first, second = found["accuracies"]
    assert 5 < first < 100
    assert found["mean"] == pytest.approx((first + second) / 2)
    assert found["deviation"] == pytest.approx(abs(first - second) / 2**0.5)
    assert 0 < found["train_seconds"]["median"] < found["wall_seconds"]["median"]


@pytest.mark.long
def test_stages_of_the_startup_follow_each_other():
    done = run_script("benchmark", "startup", "--repeats=1", "--json", *SHORT)
    assert done.returncode == 0, done.stderr
    timings = {name: one for name, one in json.loads(done.stdout).items() if isinstance(one, dict)}
    stages = {name: one["median"] for name, one in timings.items() if "median" in one}
    assert list(stages) == [*measures.STAGES, "first step"]
    assert all(seconds > 0 for seconds in stages.values())  # of processes of their own: their order may vary


def test_rates_leave_the_first_round_out():
    calls = []

    def work():
        calls.append(None)
        time.sleep(0.5 if len(calls) == 1 else 0.1)

    found = measures._rates({"work": work}, images=10, repeats=2)["work"]
    assert len(calls) == 3
    assert 25 < found.low <= found.high <= 100


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("input", {"from the host", "gathered and augmented on the device"}),
        ("evaluation", {"predictions", "predictions, exported", "metrics, curves and intervals"}),
    ],
)
def test_parts_are_timed_alone(what, parts):
    done = run_script("benchmark", what, "--repeats=1", "--json", "--config.train.batch_size=2000")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found[part]["median"] > 0 for part in parts)


def test_a_mistake_is_told_in_a_line():
    done = run_script("benchmark", "input", "--config=configs/nothing.py")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["benchmark: --config=configs/nothing.py must be a file"]


@pytest.mark.parametrize("cold", [False, True])
def test_a_run_fills_the_cache_before_those_of_the_accuracy_unless_they_are_cold(monkeypatch, cold):
    asked = []

    def runs(flags, variants, repeats, *, cold=False):
        asked.append((list(variants), cold))
        record = {"metrics": {"test": {"accuracy": 0.5}}, "train_seconds": 1.0}
        return {name: [(2.0, record)] for name in variants}

    monkeypatch.setattr(measures, "runs", runs)
    program = importlib.import_module("benchmark.__main__")
    flags = argparse.Namespace(config="configs/digits.py", overrides=[], repeats=1, cold=cold)
    figures = program.measure_accuracy(flags).figures
    assert (figures["warm"], figures["n"], figures["mean"]) == (not cold, 1, 50)
    assert asked == ([] if cold else [(["warm"], False)]) + [(["0"], cold)]


def test_each_cold_run_has_an_empty_compilation_cache(monkeypatch):
    caches = []

    def run(command, *, env, **options):
        caches.append(env["JAX_COMPILATION_CACHE_DIR"])
        workdir = next(word.partition("=")[2] for word in command if word.startswith("--workdir="))
        pathlib.Path(workdir).mkdir()
        (pathlib.Path(workdir) / "run.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "usual")
    measures.runs([], {"a": []}, 2, cold=True)
    measures.runs([], {"a": []}, 1)
    assert len(set(caches)) == 3
    assert caches[2] == "usual"
    assert "usual" not in caches[:2]
