"""Whole populations, as a user runs, kills and resumes them."""

import json
import shutil
import time

import numpy as np
import pytest
from conftest import TINY, run_command, run_main, start_main
from event_files import scalars_of

from mnist_jax.metrics.confusion import evaluate
from mnist_jax.metrics.predictions import load_predictions

pytestmark = pytest.mark.whole

ASKED = (*TINY, "--config.population.learning_rate=(0.05,0.02,1e9)", "--config.population.seed=(0,1,0)")
NAMES = ("learning_rate=0.05,seed=0", "learning_rate=0.02,seed=1", "learning_rate=1e+09,seed=0")


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def population(run_once):
    """The workdir of a population of three, one of which diverges, and the output."""
    return run_once("population", *ASKED)


@pytest.mark.rounding
def test_a_member_is_a_run_that_came_out_as_alone(population, tmp_path):
    workdir, _ = population
    done = run_main(
        *TINY, "--config.optimizer.learning_rate=0.02", "--config.seed=1", f"--workdir={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    member, alone = record_of(workdir / NAMES[1]), record_of(tmp_path)
    assert member["status"] == "finished"
    flops = record_of(workdir)["resources"]["flops_per_step"]
    assert flops == pytest.approx(3 * alone["resources"]["flops_per_step"], rel=0.1)
    assert member["config"]["optimizer"] == alone["config"]["optimizer"]
    assert member["config"]["population"] == alone["config"]["population"]
    mine, other = rows_of(workdir / NAMES[1]), rows_of(tmp_path)
    assert [(row["split"], row["step"]) for row in mine][:-1] == [
        (row["split"], row["step"]) for row in other
    ][:-1]
    # The first ten steps, before rounding has grown; test_population.py holds each step to the arithmetic.
    assert mine[0]["loss"] == pytest.approx(other[0]["loss"], rel=1e-3)
    step, predictions = load_predictions(workdir / NAMES[1] / "predictions.npz")
    assert step == member["best"]["step"]
    assert evaluate(predictions).scalars()["loss"] == member["metrics"]["test"]["loss"]


def test_a_member_can_be_used_as_any_run(population):
    workdir, _ = population
    flags = ("--config.optimizer.learning_rate=0.05", "--mode=evaluate")
    done = run_main(*TINY, *flags, f"--workdir={workdir / NAMES[0]}")
    assert done.returncode == 0, done.stderr
    record = record_of(workdir / NAMES[0])
    found = json.loads((workdir / NAMES[0] / f"evaluation-{record['best']['step']}.json").read_text())
    assert found["metrics"]["accuracy"] == record["metrics"]["test"]["accuracy"]
    assert (workdir / NAMES[0] / "report.html").exists()


def test_one_that_diverges_fails_alone(population):
    workdir, done = population
    record = record_of(workdir / NAMES[2])
    assert record["status"] == "failed"
    assert record["exit_reason"].startswith("the loss is ")
    assert f"{NAMES[2]} failed: the loss is" in done.stderr
    told = {one["member"]: one for one in record_of(workdir)["population"]}
    assert [told[name]["status"] for name in NAMES] == ["finished", "finished", "failed"]


def test_the_ensemble_is_the_mean_of_those_that_finished(population):
    workdir, done = population
    members = [load_predictions(workdir / name / "predictions.npz")[1] for name in NAMES[:2]]
    _, together = load_predictions(workdir / "predictions.npz")
    mean = np.mean([one.probabilities for one in members], axis=0)
    np.testing.assert_allclose(together.probabilities, mean, atol=1e-6)
    record = record_of(workdir)
    assert record["status"] == "finished"
    assert record["metrics"]["test"]["accuracy"] == (mean.argmax(1) == together.labels).mean()
    assert "ensemble of 2" in done.stdout
    scores = {
        one["member"]: one["validation"]["accuracy"] for one in record["population"] if one["validation"]
    }
    assert scores[record["best"]["member"]] == max(scores.values())
    assert (workdir / "report.html").exists()


def test_the_population_itself_is_no_model_to_ask(population):
    workdir, _ = population
    done = run_main(*ASKED, "--mode=evaluate", f"--workdir={workdir}")
    assert done.returncode == 2
    assert "must be the workdir of one model (got a population); give that of a member" in done.stderr
    done = run_command("predict", f"--workdir={workdir}", "x.png")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_killed_population_goes_on_to_the_same_bits(population, tmp_path):
    workdir, _ = population
    process = start_main(*ASKED, "--config.tensorboard", f"--workdir={tmp_path}")
    while not (tmp_path / "metrics.jsonl").exists() or len(rows_of(tmp_path)) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    done = run_main(*ASKED, "--config.tensorboard", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    again, whole = record_of(tmp_path), record_of(workdir)
    assert again["params_sha256"] == whole["params_sha256"]
    assert again["metrics"] == whole["metrics"]
    for name in NAMES[:2]:
        assert record_of(tmp_path / name)["params_sha256"] == record_of(workdir / name)["params_sha256"]
        steps = [(row["split"], row["step"], row["loss"]) for row in rows_of(tmp_path / name)]
        assert steps == [(row["split"], row["step"], row["loss"]) for row in rows_of(workdir / name)]
    for folder in (tmp_path, *(tmp_path / name for name in NAMES)):
        events = tmp_path / "tensorboard" / ("" if folder == tmp_path else folder.name)
        logged = [(step, pytest.approx(loss)) for step, loss in scalars_of(events).get("train/loss", [])]
        assert logged == [(row["step"], row["loss"]) for row in rows_of(folder) if row["split"] == "train"]


def test_another_run_in_a_members_folder_is_left_alone(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "pop" / "seed=0")
    before = (tmp_path / "pop" / "seed=0" / "run.json").read_bytes()
    flags = (*TINY, "--config.population.seeds=2", "--config.train.epochs=3", f"--workdir={tmp_path / 'pop'}")
    done = run_main(*flags)
    assert done.returncode == 2
    assert "seed=0 holds a run of another config (config.train.epochs was 2, now 3)" in done.stderr
    assert (tmp_path / "pop" / "seed=0" / "run.json").read_bytes() == before
    assert not (tmp_path / "pop" / "seed=1").exists()
    assert not (tmp_path / "pop" / "run.json").exists()


def test_where_all_diverge_it_fails(tmp_path):
    flags = ("--config.population.seeds=2", "--config.optimizer.learning_rate=1e9")
    done = run_main(*TINY, *flags, f"--workdir={tmp_path / 'pop'}")
    assert done.returncode == 2
    assert "all members failed; seed=0: the loss is" in done.stderr
    assert record_of(tmp_path / "pop")["status"] == "failed"
    assert record_of(tmp_path / "pop" / "seed=1")["status"] == "failed"


def test_members_that_cannot_be_leave_nothing_behind(tmp_path):
    done = run_main(*TINY, "--config.population.momentum=(0.9,2.0)", f"--workdir={tmp_path / 'pop'}")
    assert done.returncode == 2
    assert "config.population.momentum must be a tuple" in done.stderr
    done = run_main(*ASKED, "--config.population.momentum=(0.9,)", f"--workdir={tmp_path / 'pop'}")
    assert "of one length" in done.stderr
    assert not (tmp_path / "pop").exists()
