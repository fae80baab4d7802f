"""Runs of a W&B project, read by the real client's public API from a server of the tests' own."""

import json
import os
import shutil

import pytest
from conftest import run_command
from wandb_backend import KEY, Run, WandbBackend

pytestmark = pytest.mark.whole

NEEDED = ("run.json", "metrics.jsonl", "predictions.npz")


@pytest.fixture
def backend():
    with WandbBackend() as backend:
        yield backend


def add(backend, workdir, run_id, name, *, files=NEEDED, ended=(0,)):
    content = {name: (workdir / name).read_bytes() for name in files}
    backend.runs[run_id] = Run("project", {}, {}, {}, content, list(ended))
    backend.names[run_id] = name


def compare(project, folder, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env = {**clean, "HOME": str(folder), **environment}
    return run_command("compare", f"--wandb={project}", "--json", cwd=folder, env=env)


def test_finished_runs_of_a_project_are_compared(backend, tiny_run, tmp_path):
    add(backend, tiny_run, "id1", "baseline-seed_0")
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    record = json.loads((other / "run.json").read_text())
    record["config"]["seed"] = 1
    (other / "run.json").write_text(json.dumps(record))
    add(backend, other, "id2", "baseline-seed_1")
    add(backend, tiny_run, "id3", "of another program", files=())
    add(backend, tiny_run, "id4", "still running", ended=())
    done = compare("me/project", tmp_path, **backend.environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr == "of another program of me/project is ignored: it has no run.json\n"
    (setting,) = json.loads(done.stdout)["settings"]
    assert (setting["name"], setting["n"]) == ("baseline", 2)
    accuracy = json.loads((tiny_run / "run.json").read_text())["metrics"]["test"]["accuracy"]
    assert setting["mean"] == accuracy
    assert (tmp_path / "compare.html").exists()
    assert backend.unknown == []


def test_without_a_key_nothing_is_asked(tmp_path):
    done = compare("me/project", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mnist-jax compare: --wandb needs an API key of W&B: set WANDB_API_KEY")


def test_a_server_that_refuses_is_told_in_a_line_without_the_key(backend, tmp_path):
    backend.mood = 401
    done = compare("me/project", tmp_path, **backend.environment())
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--wandb=me/project cannot be read" in done.stderr
    assert KEY not in done.stderr
