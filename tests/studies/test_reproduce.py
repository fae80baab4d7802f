import json
import os
import pathlib
import subprocess

import pytest
from conftest import run_command

from mnist_jax.storage.record import read_record
from mnist_jax.studies import reproduce
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


def reproduced(*arguments) -> subprocess.CompletedProcess:
    return run_command("reproduce", *arguments, env={**os.environ, "COLUMNS": "150"})


def copy_of(run, folder, change) -> pathlib.Path:
    """A copy of the run whose run.json is changed."""
    subprocess.run(["cp", "-r", f"{run}/.", folder], check=True)
    record = read_record(folder)
    change(record)
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_the_same_run_comes_out_bit_identical(tiny_run, tmp_path):
    done = reproduced(tiny_run, "--into", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "code, packages and machine are the same as in run.json" in done.stdout
    assert "bit-identical" in done.stdout
    assert read_record(tmp_path / "again")["params_sha256"] == read_record(tiny_run)["params_sha256"]


def test_what_differs_is_shown(tiny_run, tmp_path):
    def change(record):
        record["environment"]["packages"]["jax"] = "0.1.2"
        record["environment"]["accelerator"]["kind"] = "TPU v9"
        record["environment"]["accelerator"]["jax_options"] = {"jax_default_prng_impl": "rbg"}
        record["code"]["commit"] = "abcdef"

    workdir = copy_of(tiny_run, tmp_path, change)
    found = {difference.what: difference.then for difference in reproduce.circumstances(read_record(workdir))}
    assert found == {
        "package: jax": "0.1.2",
        "accelerator: kind": "TPU v9",
        "accelerator: jax_options": "{'jax_default_prng_impl': 'rbg'}",
        "code: commit": "abcdef",
    }


def test_changes_that_no_patch_tells_are_never_taken_for_the_same(tiny_run, tmp_path, monkeypatch):
    """As in two images of changed trees."""
    stamped = {"version": "1", "commit": "abc", "dirty": True, "patch_sha256": None, "remote": None}
    workdir = copy_of(tiny_run, tmp_path, lambda record: record.update(code=stamped))
    monkeypatch.setattr(reproduce.provenance, "describe_code", lambda: stamped)
    (found,) = reproduce.circumstances(read_record(workdir))
    assert found.what == "code: uncommitted changes"


@pytest.mark.parametrize(
    ("accuracy_gap", "status", "verdict"), [(0.001, 0, "equal within"), (0.1, 1, "different")]
)
def test_what_is_not_identical_is_held_against_the_tolerance(
    tiny_run, tmp_path, accuracy_gap, status, verdict
):
    def change(record):
        record["metrics"]["test"]["accuracy"] += accuracy_gap
        record["params_sha256"] = "0" * 64

    done = reproduced(copy_of(tiny_run, tmp_path / "run", change))
    assert done.returncode == status, done.stderr
    assert verdict in done.stdout
    assert "test accuracy: was" in done.stdout
    assert "differ by up to 0 (relative" in done.stdout


def test_other_data_and_unfinished_runs_are_refused(tiny_run, tmp_path):
    def other_data(record):
        record["data"]["fingerprint"] = "0" * 64

    workdir = copy_of(tiny_run, tmp_path / "data", other_data)
    with pytest.raises(UserError, match="the data must be those of"):
        reproduce.run_again(workdir, reproduce.config_of(read_record(workdir), {}), tmp_path / "again")
    workdir = copy_of(tiny_run, tmp_path / "open", lambda record: record.update(status="interrupted"))
    with pytest.raises(UserError, match="must be a finished run"):
        reproduce.run_again(workdir, reproduce.config_of(read_record(workdir), {}), tmp_path / "again")


def test_a_folder_without_a_run_is_told_in_one_line(tmp_path):
    done = reproduced(tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"mnist-jax reproduce: {tmp_path} holds no run: there is no {tmp_path / 'run.json'}"
    ]


def test_the_config_of_a_record_is_checked(tiny_run):
    record = read_record(tiny_run)
    record["config"]["train"]["epochs"] = -3
    with pytest.raises(UserError, match=r"config.train.epochs must be an integer of at least 1 \(got -3\)"):
        reproduce.config_of(record, {})


def test_folders_of_a_record_count_when_they_are_on_the_command_line(tiny_run, tmp_path):
    def change(record):
        record["config"]["data"].update(dir="/its/my pictures", data_dir="/its/sets", cache_dir="/its/cache")

    workdir = copy_of(tiny_run, tmp_path / "run", change)
    done = reproduced(workdir)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "must be on the command line" in done.stderr
    assert done.stderr.endswith("; add --dir='/its/my pictures' --data_dir=/its/sets\n")
    record = read_record(workdir)
    config = reproduce.config_of(record, {"dir": "/its/my pictures", "data_dir": "", "manual_dir": None})
    assert config.data.dir == "/its/my pictures"
    assert [config.data[name] for name in ("data_dir", "manual_dir", "cache_dir")] == ["", "", ""]


def test_a_folder_that_holds_a_run_is_refused(tiny_run, tmp_path):
    done = reproduced(tiny_run, "--into", tiny_run)
    assert done.returncode == 2
    assert "must be a folder without a run" in done.stderr


def test_a_run_that_was_forced_on_is_refused(tiny_run, tmp_path):
    def forced(record):
        record["processes"].append({**record["processes"][0], "config_changes": {"seed": [0, 1]}})

    workdir = copy_of(tiny_run, tmp_path / "forced", forced)
    with pytest.raises(UserError, match="must be a run of one config and data set"):
        reproduce.run_again(workdir, reproduce.config_of(read_record(workdir), {}), tmp_path / "again")
