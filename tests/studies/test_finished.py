import json
import shutil

import pytest
from made_runs import CLASSES, LABELS, three_settings, warned

from mnist_jax.metrics.predictions import predictions_of, save_predictions
from mnist_jax.studies.finished import load_runs
from mnist_jax.system.errors import UserError


@pytest.fixture
def runs(tmp_path):
    return three_settings(tmp_path)


def test_a_run_that_is_there_twice_counts_once(runs, tmp_path):
    shutil.copytree(runs[0].workdir, tmp_path / "small-seed_0-reproduced")
    folders = [run.workdir for run in runs]
    told = []
    kept = load_runs([*folders, tmp_path / "small-seed_0-reproduced", folders[1]], told.append)
    assert [run.workdir for run in kept] == folders
    assert len(told) == 2
    assert (
        told[0] == f"left out: {tmp_path / 'small-seed_0-reproduced'} has the config and seed of {folders[0]}"
    )


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("data", "fingerprint"), "e" * 64, "data is s/1 (ffffffffffff) in the first and s/1 (eeeeeeeeeeee)"),
        (("config", "data", "test"), "test[:50%]", "the test split is test in the first and test[:50%]"),
    ],
)
def test_other_data_is_refused_with_the_reason(runs, keys, value, expected):
    path = runs[1].workdir / "run.json"
    record = json.loads(path.read_text())
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        load_runs([run.workdir for run in runs], warned)
    assert expected in str(caught.value)
    assert str(path.parent) in str(caught.value)


def test_other_labels_are_refused(runs):
    shifted = predictions_of(runs[1].predictions.log_probabilities, (LABELS + 1) % CLASSES)
    save_predictions(runs[1].workdir / "predictions.npz", shifted, 3, tuple("abc"))
    with pytest.raises(UserError, match="labels in predictions.npz differ"):
        load_runs([run.workdir for run in runs], warned)


def test_what_is_not_finished_or_damaged_is_left_out(runs, tmp_path):
    record = json.loads((runs[0].workdir / "run.json").read_text())
    (runs[0].workdir / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    (runs[1].workdir / "run.json").write_text("{")
    (runs[2].workdir / "predictions.npz").write_bytes(b"PK")
    told = []
    (tmp_path / "sweep.log").write_text("no folder")
    record = json.loads((runs[3].workdir / "run.json").read_text())
    (runs[3].workdir / "run.json").write_text(json.dumps({**record, "metrics": {}}))
    kept = load_runs([tmp_path / "sweep.log", *(run.workdir for run in runs)], told.append)
    assert [run.name for run in kept] == [run.name for run in runs[4:]]
    assert len(told) == 4
    assert "run.json is damaged (Object missing required field" in told[3]
    assert "must be finished (got interrupted)" in told[0]
    with pytest.raises(UserError, match="the folders must have finished runs"):
        load_runs([tmp_path], told.append)


@pytest.mark.parametrize(
    "change", [{"config_changes": {"train.epochs": [3, 6]}}, {"data_fingerprint": "e" * 64}], ids=str
)
def test_a_run_that_was_forced_on_with_another_config_or_data_is_left_out(runs, change):
    path = runs[0].workdir / "run.json"
    record = json.loads(path.read_text())
    record["processes"].append({**record["processes"][0], **change})
    path.write_text(json.dumps(record))
    told = []
    kept = load_runs([run.workdir for run in runs], told.append)
    assert [run.workdir for run in kept] == [run.workdir for run in runs[1:]]
    (line,) = told
    assert line.startswith(
        f"left out: {runs[0].workdir} must be a run of one config and data set (got others"
    )
