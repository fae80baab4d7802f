"""Whole runs on the bundled digits."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys

import jax
import launcher
import numpy as np
import pytest
from conftest import LONGER, ROOT, TINY, command, run_main, start_main
from rounding import assert_rounding_alone, disturbed
from whole_runs import wait_for_step

from configs import digits
from mnist_jax import data, models
from mnist_jax.config.validation import validate
from mnist_jax.loop import train_and_evaluate
from mnist_jax.metrics.confusion import evaluate
from mnist_jax.metrics.predictions import load_predictions, predictions_of
from mnist_jax.serving.classifier import load_classifier
from mnist_jax.storage import provenance
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.history import read_metrics
from mnist_jax.system.errors import Interrupted, UserError
from mnist_jax.system.mesh import make_mesh
from mnist_jax.training.predictor import model_template

pytestmark = pytest.mark.whole


def read(workdir):
    return json.loads((workdir / "run.json").read_text())


@pytest.fixture(scope="module")
def finished(run_once):
    """The workdir of an uninterrupted run of the tiny config, and its output."""
    return run_once("tiny", *TINY)


def test_a_run_is_quiet_and_shows_its_epochs_and_result(finished):
    workdir, done = finished
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:10]] == [
        *("data", "model", "optimizer", "device", "length", "workdir", "W&B"),
        *("epoch", "1.0", "2.0"),
    ]
    for text in (
        "accuracy",
        "macro precision",
        "macro recall",
        "macro F1",
        "loss",
        str(workdir / "run.json"),
    ):
        assert text in "\n".join(lines[10:])
    assert max(len(line) for line in lines if str(workdir) not in line) <= 80


def test_the_record_is_complete(finished):
    record = read(finished[0])
    assert (record["schema"], record["status"], record["exit_reason"]) == (
        3,
        "finished",
        "trained to the end",
    )
    assert record["steps"] == 75
    assert record["resumes"] == 0
    assert record["command"][1:] == [*TINY, f"--workdir={finished[0]}"]
    assert record["config"]["model"]["widths"] == [8, 8]
    assert record["data"]["name"] == "digits/1.0.0"
    assert record["data"]["version"] == "1.0.0"
    assert {"commit", "dirty"} <= record["code"].keys()
    assert len(record["params_sha256"]) == 64
    assert record["wall_seconds"] > record["train_seconds"] > 0
    assert record["images_per_second"] > 0
    assert record["metrics"]["test"]["examples"] == 300
    assert record["best"]["step"] in (38, 75)


def test_the_history_has_every_step_and_epoch_once(finished):
    rows = read_metrics(finished[0] / "metrics.jsonl")
    train = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in train] == [10, 20, 30, 38, 40, 50, 60, 70, 75]
    assert sum(row["steps"] for row in train) == 75
    assert [row["step"] for row in rows if row["split"] == "validation"] == [38, 75]
    assert rows[-1]["split"] == "test"
    record = read(finished[0])
    assert rows[-1]["accuracy"] == record["metrics"]["test"]["accuracy"]
    best = next(row for row in rows if row["split"] == "validation" and row["step"] == record["best"]["step"])
    assert best["accuracy"] == record["metrics"]["validation"]["accuracy"]
    assert best["accuracy"] == max(row["accuracy"] for row in rows if row["split"] == "validation")


@pytest.mark.rounding
def test_the_metrics_are_those_of_the_saved_model(finished, tiny_config):
    """The best checkpoint, restored and applied without the loop in one batch."""
    workdir, _ = finished
    config = validate(tiny_config)
    dataset = data.load(config.data)
    graphdef, like = model_template(config, (8, 8, 1), 10, make_mesh(config))
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep, read_only=True) as store:
        best = store.restore_model(like, pytest.fail)
        last = store.restore_params(75, like)
    images = (dataset.test.images / 255 - config.data.mean[0]) / config.data.std[0]
    logits, _ = models.apply_model(
        graphdef, best.params, best.model_state, images.astype(np.float32), train=False
    )
    probabilities = np.asarray(logits, np.float64)
    probabilities -= np.log(np.exp(probabilities).sum(1, keepdims=True))
    expected = evaluate(predictions_of(probabilities, dataset.test.labels))
    test = read(workdir)["metrics"]["test"]
    step, kept = load_predictions(workdir / "predictions.npz")
    assert step == read(workdir)["best"]["step"]
    assert kept.confusion.tolist() == expected.confusion.tolist()
    assert np.load(workdir / "predictions.npz")["confusion"].tolist() == expected.confusion.tolist()
    almost, _ = models.apply_model(
        graphdef, disturbed(best.params), best.model_state, images.astype(np.float32), train=False
    )
    assert_rounding_alone(kept.log_probabilities, probabilities, jax.nn.log_softmax(almost))
    assert test["accuracy"] == expected.accuracy
    assert test["loss"] == pytest.approx(expected.loss, rel=1e-4)  # of log-probabilities that are as close
    assert read(workdir)["params_sha256"] == provenance.params_hash(last)


def test_a_finished_run_says_so(finished):
    before = (finished[0] / "run.json").read_bytes(), (finished[0] / "metrics.jsonl").read_bytes()
    done = run_main(*TINY, f"--workdir={finished[0]}")
    assert done.returncode == 0
    assert "holds the finished run of this config" in done.stdout
    assert "macro F1" in done.stdout
    assert before == ((finished[0] / "run.json").read_bytes(), (finished[0] / "metrics.jsonl").read_bytes())


def test_another_config_is_refused_unless_forced(finished, tmp_path):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", finished[0], workdir], check=True)
    longer = (*TINY, "--config.train.epochs=3", f"--workdir={workdir}")
    done = run_main(*longer)
    assert done.returncode == 2
    assert "config.train.epochs was 2, now 3" in done.stderr
    assert (workdir / "run.json").read_bytes() == (finished[0] / "run.json").read_bytes()
    done = run_main(*longer, "--resume=force")
    assert done.returncode == 0, done.stderr
    record = read(workdir)
    assert (record["steps"], record["resumes"], record["status"]) == (113, 1, "finished")


def copy_of(finished, tmp_path):
    """A copy of the finished run that says it was interrupted."""
    subprocess.run(["cp", "-r", f"{finished[0]}/.", tmp_path], check=True)
    (tmp_path / "run.json").write_text(json.dumps({**read(tmp_path), "status": "interrupted"}))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model.kernel": 5}, "must have the parameters and optimizer state"),
        ({"optimizer.name": "adam"}, "must have the parameters and optimizer state"),
        ({"train.ema_decay": 0.0}, "must have the parameters and optimizer state"),
        ({"train.epochs": 1}, "the steps of the config must be at least those of the run"),
        ({"data.test": "trian"}, "no such split"),
    ],
)
def test_what_cannot_be_forced_is_told_and_leaves_the_record(
    finished, tiny_config, tmp_path, changes, expected
):
    workdir = copy_of(finished, tmp_path)
    before = (workdir / "run.json").read_bytes()
    tiny_config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=f"^[^\n]*{expected}[^\n]*$"):
        train_and_evaluate(tiny_config, workdir, resume="force")
    assert (workdir / "run.json").read_bytes() == before


def test_other_data_can_be_forced(finished, tiny_config, tmp_path):
    workdir = copy_of(finished, tmp_path)
    record = read(workdir)
    record["data"]["fingerprint"] = "0" * 64
    (workdir / "run.json").write_text(json.dumps(record))
    assert train_and_evaluate(tiny_config, workdir, resume="force")["status"] == "finished"


def test_checkpoints_without_a_record_are_held_against_the_config(finished, tiny_config, tmp_path):
    workdir = copy_of(finished, tmp_path)
    (workdir / "run.json").unlink()
    tiny_config.seed = 7
    with pytest.raises(UserError, match="config.seed was 0, now 7"):
        train_and_evaluate(tiny_config, workdir)
    tiny_config.seed = 0
    assert train_and_evaluate(tiny_config, workdir)["params_sha256"] == read(finished[0])["params_sha256"]


@pytest.fixture(scope="module")
def uninterrupted(run_once):
    return run_once("longer", *LONGER)[0]


def assert_same_run(workdir, expected):
    record, other = read(workdir), read(expected)
    assert record["params_sha256"] == other["params_sha256"]
    for split in ("validation", "test"):
        assert record["metrics"][split] == other["metrics"][split]
    rows, expected_rows = (read_metrics(path / "metrics.jsonl") for path in (workdir, expected))
    for split in ("validation", "test"):
        assert [row for row in rows if row["split"] == split] == [
            row for row in expected_rows if row["split"] == split
        ]
    train = [row for row in rows if row["split"] == "train"]
    assert np.cumsum([row["steps"] for row in train]).tolist() == [row["step"] for row in train]


def test_a_run_killed_twice_ends_with_the_same_bits(uninterrupted, tmp_path):
    for step in (20, 120):
        process = start_main(*LONGER, f"--workdir={tmp_path}", stdout=subprocess.DEVNULL)
        wait_for_step(process, tmp_path, step)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read(tmp_path)["status"] == "running"
    done = run_main(*LONGER, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path, uninterrupted)
    assert read(tmp_path)["resumes"] == 2


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_saves_its_step_and_goes_on_to_the_same_bits(uninterrupted, tmp_path, signum, status):
    """SIGHUP comes from a terminal that closes, below."""
    process = start_main(*LONGER, f"--workdir={tmp_path}")
    wait_for_step(process, tmp_path, 50)
    process.send_signal(signum)
    _, err = process.communicate()
    assert process.returncode == status
    (line,) = err.splitlines()
    step = int(line.split("step ")[1].split()[0])
    assert line.startswith(f"main.py: stopped by {signal.Signals(signum).name}; step {step} is saved")
    record = read(tmp_path)
    assert (record["status"], record["steps"], record["metrics"]) == ("interrupted", step, None)
    assert record["wall_seconds"] > record["train_seconds"] > 0
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == step
    done = run_main(*LONGER, f"--workdir={tmp_path}")
    assert done.returncode == 0
    assert f"\nresumes    after step {step} of 225, epoch {step / 37.4:.1f}\n" in done.stdout
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(
    "flag",
    ["--config.dtype=bfloat16", pytest.param("--config.train.steps_per_call=4", marks=pytest.mark.long)],
)
def test_other_programs_are_stopped_and_go_on_to_the_same_bits_too(request, run_once, tmp_path, flag):
    flags = (*LONGER, flag)
    if "bfloat16" in flag:
        whole = request.getfixturevalue("bfloat16_run")
    else:
        whole = run_once("steps per call", *flags)[0]
    process = start_main(*flags, f"--workdir={tmp_path}")
    wait_for_step(process, tmp_path, 50)
    process.terminate()
    assert process.wait() == 143
    assert run_main(*flags, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, whole)


def test_host_placement_trains_to_the_same_bits(finished, tiny_config, tmp_path):
    tiny_config.data.placement = "host"
    record = train_and_evaluate(tiny_config, tmp_path)
    assert record["params_sha256"] == read(finished[0])["params_sha256"]
    assert record["metrics"]["test"] == read(finished[0])["metrics"]["test"]


def test_a_relative_workdir(finished, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = train_and_evaluate(tiny_config, "runs/relative")
    assert record["params_sha256"] == read(finished[0])["params_sha256"]
    assert (tmp_path / "runs" / "relative" / "run.json").exists()


def test_another_seed_is_another_run(finished, tiny_config, tmp_path):
    tiny_config.seed = 1
    assert train_and_evaluate(tiny_config, tmp_path)["params_sha256"] != read(finished[0])["params_sha256"]


def test_a_run_killed_before_its_record_was_closed_ends_with_the_same_record(finished, tiny_config, tmp_path):
    subprocess.run(["cp", "-r", f"{finished[0]}/.", tmp_path], check=True)
    record = read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "running", "metrics": None}))
    again = train_and_evaluate(tiny_config, tmp_path)
    assert again["params_sha256"] == record["params_sha256"]
    assert again["metrics"] == record["metrics"]
    assert read_metrics(tmp_path / "metrics.jsonl") == read_metrics(finished[0] / "metrics.jsonl")


def test_a_damaged_checkpoint_costs_one_line_and_no_bit(finished, tmp_path):
    workdir = copy_of(finished, tmp_path)
    for file in (workdir / "checkpoints" / "75" / "train" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:500])
    done = run_main(*TINY, f"--workdir={workdir}")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    line = done.stderr.strip()
    assert "checkpoints/75 cannot be read" in line
    assert line.endswith("using the one before")
    assert read(workdir)["params_sha256"] == read(finished[0])["params_sha256"]
    assert read(workdir)["metrics"] == read(finished[0])["metrics"]


def test_other_data_is_refused(finished, tiny_config, tmp_path, monkeypatch):
    subprocess.run(["cp", "-r", f"{finished[0]}/.", tmp_path], check=True)
    record = read(tmp_path)
    record["data"]["fingerprint"] = "0" * 64
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(UserError, match="digits/1.0.0 with fingerprint 000000000000 .got"):
        train_and_evaluate(tiny_config, tmp_path)


def test_a_diverging_run_fails_with_its_step_and_keeps_its_history(tiny_config, tmp_path):
    tiny_config.optimizer.learning_rate = 1e8
    tiny_config.model.norm = "none"
    with pytest.raises(UserError, match=r"the (loss|gradient norm) is (nan|inf) at step \d+"):
        train_and_evaluate(tiny_config, tmp_path)
    assert read(tmp_path)["status"] == "failed"
    assert " at step " in read(tmp_path)["exit_reason"]


def test_updates_that_are_not_finite_are_skipped_where_asked_but_not_for_ever(tiny_config, tmp_path):
    tiny_config.optimizer.update(learning_rate=1e8, skip_nonfinite=3)
    tiny_config.model.update(norm="none", activation="silu")  # no unit dies
    with pytest.raises(UserError, match=r"the (loss|gradient norm) is (nan|inf) at step \d+"):
        train_and_evaluate(tiny_config, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert all(row["loss"] is None or np.isfinite(row["loss"]) for row in rows)


def test_a_last_update_that_overflows_is_told(tiny_config, tmp_path):
    """The loss of the last step is finite, the parameters after it are not."""
    tiny_config.optimizer.update(learning_rate=1e9, momentum=0.0, nesterov=False)
    tiny_config.schedule.update(name="constant", warmup=0.0)
    tiny_config.model.update(norm="none", activation="silu")
    tiny_config.train.steps = 2
    with pytest.raises(UserError, match=r"the (loss|validation loss|gradient norm) is (nan|inf) a"):
        train_and_evaluate(tiny_config, tmp_path)
    assert read(tmp_path)["status"] == "failed"
    assert not list(tmp_path.glob("checkpoints/*"))


def test_what_was_forced_is_recorded(finished, tiny_config, tmp_path):
    workdir = copy_of(finished, tmp_path)
    tiny_config.train.log_every_steps = 7
    train_and_evaluate(tiny_config, workdir, resume="force")
    changes = [process["config_changes"] for process in read(workdir)["processes"]]
    assert changes == [{}, {"train.log_every_steps": [10, 7]}]


def test_a_signal_before_training_leaves_no_record(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda config: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train_and_evaluate(tiny_config, tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_a_signal_before_training_whose_exception_was_lost_still_ends_the_run(
    tiny_config, tmp_path, monkeypatch
):
    load = data.load

    def load_under_fire(config):
        with contextlib.suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        return load(config)

    monkeypatch.setattr(data, "load", load_under_fire)
    with pytest.raises(Interrupted):
        train_and_evaluate(tiny_config, tmp_path)
    assert read(tmp_path)["status"] == "interrupted"
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_terminal_that_closes_stops_the_run_with_its_step_saved(uninterrupted, tmp_path):
    with launcher.default_signals():
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(ROOT)
            os.execv(sys.executable, command(*LONGER, f"--workdir={tmp_path}"))
    while not read_metrics(tmp_path / "metrics.jsonl"):
        with contextlib.suppress(OSError):
            os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    assert (read(tmp_path)["status"], read(tmp_path)["metrics"]) == ("interrupted", None)
    assert run_main(*LONGER, f"--workdir={tmp_path}").returncode == 0
    assert_same_run(tmp_path, uninterrupted)


def test_on_a_terminal_there_is_a_bar(tmp_path):
    leader, follower = pty.openpty()
    process = start_main(
        *TINY,
        f"--workdir={tmp_path}",
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65536):
            shown += part
    except OSError:  # how Linux tells that the other side is closed
        pass
    assert process.wait() == 0
    text = shown.decode()
    assert "images/s" in text
    assert "\x1b[" in text
    assert "macro F1" in text


def test_a_reader_that_goes_away_does_not_stop_the_run(finished, tmp_path):
    process = start_main(*TINY, f"--workdir={tmp_path}")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0
    assert read(tmp_path)["params_sha256"] == read(finished[0])["params_sha256"]


@pytest.mark.parametrize("redirect", [">&- 2>&-", ">/dev/full 2>&1"])
def test_output_that_cannot_be_written_does_not_stop_the_run(finished, tmp_path, redirect):
    program = [sys.executable, *command(*TINY, f"--workdir={tmp_path}")[1:]]
    assert subprocess.run(["sh", "-c", f'"$@" {redirect}', "sh", *program], cwd=ROOT).returncode == 0
    assert read(tmp_path)["params_sha256"] == read(finished[0])["params_sha256"]


def test_a_terminal_that_closes_under_a_run_that_ignores_it_does_not_stop_the_run(finished, tmp_path):
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
        os.chdir(ROOT)
        os.execv(sys.executable, command(*TINY, f"--workdir={tmp_path}"))
    os.read(terminal, 1)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read(tmp_path)["params_sha256"] == read(finished[0])["params_sha256"]


def test_the_full_digits_run_is_accurate(tmp_path):
    config = digits.get_config()
    config.wandb.mode = "disabled"
    record = train_and_evaluate(config, tmp_path)
    assert record["metrics"]["test"]["accuracy"] >= 0.95  # 98.3 +- 0.7% over seeds


def test_a_run_that_learned_nothing_says_so(tmp_path):
    done = run_main(*TINY, "--config.optimizer.learning_rate=1e-12", f"--workdir={tmp_path}")
    assert done.returncode == 0
    line = read(tmp_path)["diagnosis"]
    assert "is not significantly better than always naming the commonest class" in line
    assert line in done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "This run may have learned nothing" in page


def test_a_run_that_learned_has_no_diagnosis(finished):
    assert read(finished[0])["diagnosis"] is None


def test_normalization_by_the_training_split_is_that_of_its_numbers(tmp_path):
    """In training, in evaluation, and where the model is loaded without its data."""
    done = run_main(*TINY, "--config.data.mean=()", "--config.data.std=()", f"--workdir={tmp_path / 'a'}")
    assert done.returncode == 0, done.stderr
    record = read(tmp_path / "a")
    assert record["config"]["data"]["mean"] == []
    flags = [f"--config.data.{name}=({record['data'][name][0]},)" for name in ("mean", "std")]
    assert run_main(*TINY, *flags, f"--workdir={tmp_path / 'b'}").returncode == 0
    assert read(tmp_path / "b")["params_sha256"] == record["params_sha256"]
    images = data.load(validate(digits.get_config()).data).test.images
    found = load_classifier(tmp_path / "a")(images)
    np.testing.assert_array_equal(found, load_classifier(tmp_path / "b")(images))
    flags = [
        "--config.data.mean=()",
        "--config.data.std=()",
        "--mode=evaluate",
        f"--workdir={tmp_path / 'a'}",
    ]
    assert run_main(*TINY, *flags).returncode == 0
    (evaluation,) = (tmp_path / "a").glob("evaluation-*.json")
    assert json.loads(evaluation.read_text())["metrics"] == record["metrics"]["test"]
