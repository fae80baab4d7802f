import json
import shutil

import launcher
import pytest
from conftest import run_command

from mnist_jax.config.identity import differences
from mnist_jax.storage.record import read_record
from mnist_jax.storage.workdir import locked
from mnist_jax.studies.listing import find_runs, read_run, short_names, varying


@pytest.fixture
def workdir(tiny_run, tmp_path):
    """A copy of a finished run's record, to be changed."""
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    shutil.copy(tiny_run / "run.json", folder)
    return folder


def change(workdir, **keys):
    path = workdir / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def listed(*arguments):
    done = run_command("runs", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_a_finished_run_is_read(workdir):
    run, record = read_run(workdir), json.loads((workdir / "run.json").read_text())
    assert (run.status, run.note) == ("finished", "")
    assert run.accuracy == record["metrics"]["test"]["accuracy"]
    assert run.macro_f1 == record["metrics"]["test"]["macro_f1"]
    assert run.fields["model.widths"] == [8, 8]
    assert run.data == "digits/1.0.0"
    if record["code"]["commit"]:
        assert run.commit.rstrip("*") == record["code"]["commit"][:8]


def test_a_run_that_says_it_runs_but_holds_no_lock_was_killed(workdir):
    change(workdir, status="running", metrics=None)
    assert read_run(workdir).status == "killed"
    with locked(workdir):
        run = read_run(workdir)
    assert (run.status, run.accuracy) == ("running", None)


def test_why_a_run_failed_is_told(workdir):
    change(workdir, status="failed", exit_reason="the loss is nan at step 3", metrics=None)
    assert read_run(workdir).note == "the loss is nan at step 3"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"schema": 1}', b'{"schema": "x"}'])
def test_a_broken_record_is_a_line_and_no_more(workdir, content):
    (workdir / "run.json").write_bytes(content)
    run = read_run(workdir)
    assert run.status == "damaged"
    assert run.note.startswith("run.json")
    status, out, err = listed(workdir.parent)
    assert (status, err) == (0, "")
    assert out.endswith(f"1 run in {workdir.parent}: 1 damaged\n")


def test_another_version_is_told(workdir):
    change(workdir, schema=99)
    assert "schema of at most 3 (got 99)" in read_run(workdir).note


def test_runs_are_found_at_any_depth_each_once(workdir, tmp_path):
    deeper = tmp_path / "runs" / "sweep" / "a" / "b"
    deeper.mkdir(parents=True)
    shutil.copy(workdir / "run.json", deeper)
    (workdir / "checkpoints" / "3").mkdir(parents=True)
    shutil.copy(workdir / "run.json", workdir / "checkpoints" / "3")  # no run of its own
    assert list(find_runs([tmp_path / "runs", workdir])) == [deeper, workdir]


def test_varying_fields_and_their_short_names():
    first = {"seed": 0, "optimizer.name": "sgd", "model.name": "cnn", "data.dir": "/a", "dtype": "float32"}
    second = {**first, "optimizer.name": "adam", "model.name": "x", "seed": 1, "data.dir": "/b"}
    assert varying([first, second]) == ["seed", "optimizer.name", "model.name"]
    assert short_names(["seed", "optimizer.name", "model.name"]) == ["seed", "optimizer.name", "model.name"]
    assert short_names(["seed", "optimizer.name"]) == ["seed", "name"]
    assert varying([{"a": 1}, {}]) == ["a"]


def test_the_list_shows_status_scores_and_what_differs(workdir, tmp_path):
    other = tmp_path / "runs" / "other"
    shutil.copytree(workdir, other)
    record = json.loads((other / "run.json").read_text())
    record["config"]["optimizer"]["learning_rate"] = 0.5
    change(
        other, config=record["config"], status="interrupted", exit_reason="stopped by SIGTERM", metrics=None
    )
    status, out, err = listed(tmp_path / "runs")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()[1:3]}
    assert "finished" in lines["tiny"]
    assert f"{record['metrics']['test']['accuracy']:.4f}" in lines["tiny"]
    assert "interrupted" in lines["other"]
    assert "(stopped by SIGTERM)" in lines["other"]
    assert f"2 runs in {tmp_path / 'runs'}: 1 finished, 1 interrupted" in out
    status, out, _ = listed(tmp_path / "runs", "--status=interrupted", "--json")
    (found,) = map(json.loads, out.splitlines())
    assert found["workdir"] == str(other)
    assert found["fields"]["optimizer.learning_rate"] == 0.5


def test_a_reader_that_closes_ends_it_quietly(workdir):
    process = launcher.start(["-m", "mnist_jax", "runs", workdir.parent])
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1  # its output is its result


def test_a_record_from_before_a_field_came_has_its_default(workdir):
    record = json.loads((workdir / "run.json").read_text())
    old = {name: value for name, value in record["config"].items() if name not in ("population", "mesh")}
    change(workdir, config=old)
    assert read_run(workdir).fields["population.seeds"] == 0
    assert read_record(workdir)["config"]["mesh"] == {"data": 0, "shard_params": False}
    assert differences(old, record["config"]) == {}


def test_a_folder_that_is_none_is_told(tmp_path):
    status, out, err = listed(tmp_path / "nope")
    assert (status, out) == (2, "")
    assert "nope must be a folder with runs in it or below it" in err
    assert listed(tmp_path)[1].endswith(f"0 runs in {tmp_path}\n")
