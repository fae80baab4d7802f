"""Training options in whole runs: killed runs end with the same bits, and members equal single runs."""

import shutil
from unittest import mock

import jax
import numpy as np
import pytest

from mnist_jax import loop
from mnist_jax.loop import train_and_evaluate
from mnist_jax.run import Run
from mnist_jax.serving.classifier import load_trained
from mnist_jax.storage.history import read_metrics
from mnist_jax.storage.record import read_record
from mnist_jax.system.errors import UserError
from mnist_jax.training.transfer import Taken

pytestmark = pytest.mark.whole

# Few examples, memorized: the validation loss falls and then rises.
OVERFITTING = {
    "data.train": "train[:40]",
    "train.steps": 300,
    "evaluation.every_steps": 25,
    "schedule.name": "constant",
    "schedule.warmup": 0.0,
    "optimizer.learning_rate": 0.05,
    "checkpoint.metric": "loss",
}
# By name, what each changes of the tiny config.
FEATURES = {
    "patience": {"train.patience": 2, **OVERFITTING},
    "together": {
        "augment.mixup": 0.2,
        "augment.cutmix": 1.0,
        "augment.resized_crop": 0.35,
        "augment.brightness": 0.3,
        "augment.contrast": 0.3,
        "augment.trivial": True,
        "train.accumulate": 4,
        "train.balance": "sampling",
        "train.class_weights": (1.0, 2.0) * 5,
        "train.label_smoothing": 0.1,
        "optimizer.skip_nonfinite": 1,
    },
}


class Killed(BaseException):
    """In place of SIGKILL: nothing is saved after it."""


def kill_at(monkeypatch, step):
    """A run that dies when the metrics of this step are logged."""
    log = Run.log

    def log_or_die(self, rows, diverged):
        log(self, rows, diverged)
        if rows and rows[-1]["step"] >= step:
            raise Killed

    monkeypatch.setattr(Run, "log", log_or_die)


def changed(config, changes):
    config.checkpoint.every_steps = 15
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize("name", FEATURES)
def test_a_killed_run_ends_with_the_same_bits(tiny_config, tmp_path, monkeypatch, name):
    config = changed(tiny_config, FEATURES[name])
    expected = train_and_evaluate(config, tmp_path / "whole")
    with monkeypatch.context() as patched:
        kill_at(patched, 50)
        with pytest.raises(Killed):
            train_and_evaluate(config, tmp_path / "killed")
    found = train_and_evaluate(config, tmp_path / "killed")
    for key in ("params_sha256", "steps", "best", "exit_reason", "metrics"):
        assert found[key] == expected[key]


def without_times(workdir):
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]


def test_a_run_without_progress_is_stopped_early_with_the_bits_of_one_that_goes_on(tiny_config, tmp_path):
    config = changed(tiny_config, OVERFITTING)
    whole = train_and_evaluate(config, tmp_path / "whole")
    config.train.patience = 2
    stopped = train_and_evaluate(config, tmp_path / "stopped")
    rows, others = without_times(tmp_path / "stopped"), without_times(tmp_path / "whole")
    assert rows[:-1] == others[: len(rows) - 1]
    losses = [row["loss"] for row in rows if row["split"] == "validation"]
    best = losses.index(min(losses))
    assert len(losses) == best + 3  # of the evaluations, two follow the best
    assert stopped["steps"] < whole["steps"]
    assert stopped["status"] == "finished"
    assert stopped["exit_reason"] == (
        f"stopped early at step {stopped['steps']} of {whole['steps']}: no better validation loss in 2 "
        f"evaluations after step {stopped['best']['step']}"
    )


def test_a_run_killed_after_its_last_step_is_not_continued(tiny_config, tmp_path, monkeypatch):
    config = changed(tiny_config, FEATURES["patience"])
    expected = train_and_evaluate(config, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(Run, "finish", mock.Mock(side_effect=Killed))
        with pytest.raises(Killed):
            train_and_evaluate(config, tmp_path / "killed")
    found = train_and_evaluate(config, tmp_path / "killed")
    assert found["steps"] == expected["steps"]
    assert found["exit_reason"] == expected["exit_reason"]
    assert found["params_sha256"] == expected["params_sha256"]


def test_a_run_starts_from_another_model_and_resumes_without_it(tiny_run, tiny_config, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(tiny_run, source)
    changes = {"train.init_from": str(source), "train.freeze": "conv", "model.dense": 24, "train.epochs": 3}
    config = changed(tiny_config, changes)
    expected = train_and_evaluate(config, tmp_path / "whole")
    init = expected["init"]
    assert init["new"] == ["dense.bias", "dense.kernel", "output.kernel"]
    assert init["step"] == read_record(source)["best"]["step"]
    with monkeypatch.context() as patched:
        kill_at(patched, 50)
        with pytest.raises(Killed):
            train_and_evaluate(config, tmp_path / "killed")
    shutil.rmtree(source)
    found = train_and_evaluate(config, tmp_path / "killed")
    assert found["init"] == init
    assert found["params_sha256"] == expected["params_sha256"]
    with pytest.raises(
        UserError, match=r"^config.train.init_from must be the workdir of a run: .* holds no run"
    ):
        train_and_evaluate(config, tmp_path / "new")
    assert not (tmp_path / "new" / "run.json").exists()
    first, last = (load_trained(folder).model.params for folder in (tiny_run, tmp_path / "killed"))
    frozen = {name for name in first if "conv" in name}
    assert frozen
    for name in frozen:
        jax.tree.map(np.testing.assert_array_equal, first[name], last[name])


def test_a_model_of_which_nothing_fits_is_an_error(tiny_run, tiny_config, tmp_path, monkeypatch):
    config = changed(tiny_config, {"train.init_from": str(tiny_run)})
    monkeypatch.setattr(loop, "fitting", lambda *_: Taken({}, ("dense.kernel",)))
    with pytest.raises(UserError, match=r"^config.train.init_from must be the workdir of a model[^\n]+$"):
        train_and_evaluate(config, tmp_path)


def test_what_a_population_cannot_do_is_an_error(tiny_config, tmp_path):
    config = changed(tiny_config, {"train.patience": 1, "population.seeds": 2})
    with pytest.raises(UserError, match=r"^config.train.patience must be 0 in a population \(got 1\)[^\n]+$"):
        train_and_evaluate(config, tmp_path)
