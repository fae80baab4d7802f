import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import launcher
import pytest
from conftest import TINY

from configs import digits
from mnist_jax.config.validation import validate
from mnist_jax.storage.workdir import locked
from mnist_jax.studies import jobs
from mnist_jax.studies.jobs import Slots, Task
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


@pytest.fixture(autouse=True)
def _forked(monkeypatch):
    """test_runner.py starts Python itself."""

    def popen(command, *, stdin, stdout, stderr, env, process_group):
        assert (command[:2], stdin, process_group) == ([sys.executable, "-P"], subprocess.DEVNULL, 0)
        env = {name: value for name, value in env.items() if name != "PYTHONPATH"}  # which forks have
        return launcher.start(command[2:], stdout=stdout, stderr=stderr, env=env, new_session=True)

    launcher._server()  # only the main thread can start it
    given = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(jobs, "subprocess", given)


@pytest.fixture
def config(tiny_config):
    return validate(tiny_config)


def test_a_task_is_an_ordinary_run_and_is_not_done_twice(config, tmp_path):
    task = Task(tmp_path / "run", config, TINY)
    with Slots(1) as free:
        outcome = free.submit(task).result()
        again = free.submit(task).result()
    assert outcome.status == "finished"
    assert outcome.record["metrics"]["test"]["accuracy"] > 0.5
    assert outcome.seconds > 0
    assert task.fraction() == 1.0
    assert "accuracy" in (tmp_path / "run" / "output.log").read_text()
    assert again == (outcome._replace(seconds=0.0))


def test_why_a_task_failed_is_its_last_line(config, tmp_path):
    with Slots(1) as free:
        outcome = free.submit(Task(tmp_path / "run", config, [*TINY, "--config.schedule.warmup=9"])).result()
    assert (outcome.status, outcome.record) == ("failed", None)
    assert outcome.reason.startswith("config.schedule.warmup is 9 epochs")


def test_a_damaged_record_is_a_failure_of_that_task_alone(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with Slots(1) as free:
        outcome = free.submit(Task(tmp_path / "run", config, TINY)).result()
    assert outcome.status == "failed"
    assert "run.json is damaged" in outcome.reason


def test_a_stopped_task_is_saved_and_one_that_waits_does_not_begin(config, tmp_path):
    long = [*TINY, "--config.train.epochs=2000"]
    first, second = Task(tmp_path / "a", config, long), Task(tmp_path / "b", config, long)
    with Slots(1) as free:
        futures = [free.submit(task) for task in (first, second)]
        while not first.rows():
            assert not futures[0].done()
            time.sleep(0.1)
        for task in (first, second):
            task.stop()
        outcomes = [future.result(timeout=60) for future in futures]
    assert [outcome.status for outcome in outcomes] == ["stopped", "stopped"]
    assert list((tmp_path / "a" / "checkpoints").iterdir())
    assert not (tmp_path / "b" / "run.json").exists()


def test_a_killed_task_is_told(config, tmp_path):
    task = Task(tmp_path / "run", config, [*TINY, "--config.train.epochs=2000"])
    with Slots(1) as free:
        future = free.submit(task)
        while not task.rows():
            assert not future.done()
            time.sleep(0.1)
        task._process.send_signal(signal.SIGKILL)
        outcome = future.result(timeout=60)
    assert outcome.status == "failed"
    assert outcome.reason == "killed by SIGKILL, possibly out of memory"


def test_a_run_left_behind_is_waited_for(config, tmp_path):
    task = Task(tmp_path / "run", config, TINY)
    with Slots(1) as free:
        with locked(tmp_path / "run"):
            future = free.submit(task)
            time.sleep(1.0)
            assert not future.done()
            assert not (tmp_path / "run" / "output.log").exists()
        assert future.result(timeout=60).status == "finished"


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda pid: set(range(5)))
    taken = []
    monkeypatch.setattr(jobs.os, "sched_setaffinity", lambda pid, cores: taken.append(cores))
    together = threading.Barrier(2)
    with Slots(2) as free:
        for _ in range(2):
            free._pool.submit(together.wait)
    assert sorted(map(sorted, taken)) == [[0, 1], [2, 3]]
    with pytest.raises(UserError, match=r"^--jobs must be at most 5, the number of cores of this process"):
        Slots(6)


@pytest.mark.parametrize(
    ("visible", "slots", "expected"),
    [
        ("", 2, [{}, {}]),
        ("0,1", 1, [{}]),
        ("3,5", 2, [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]),
        ("0", 2, [{"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"}] * 2),
    ],
)
def test_gpus_are_shared_out(monkeypatch, visible, slots, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [jobs._gpu_environment(slot, slots) for slot in range(slots)] == expected


def test_how_far_a_task_is(config, tmp_path):
    task = Task(tmp_path, config, TINY)
    assert task.fraction() == 0.0
    (tmp_path / "metrics.jsonl").write_text('{"split": "train", "step": 10, "epoch": 0.5}\n')
    assert task.fraction() == 0.25
    by_steps = digits.get_config()
    by_steps.train.steps = 40
    assert Task(tmp_path, validate(by_steps), TINY).fraction() == 0.25
