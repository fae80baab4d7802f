"""Runs with W&B as users start them: what the real client wrote offline, and what it sent to a server."""

import io
import json
import os
import pathlib
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from conftest import ROOT, TINY, command, run_main, start_main
from PIL import Image
from wandb.proto import wandb_internal_pb2
from wandb_backend import KEY, WandbBackend
from whole_runs import pause_at_step, wait_for_step

from mnist_jax import data
from mnist_jax.config.validation import from_record
from mnist_jax.reporting.wandb.process import _settings
from mnist_jax.storage.history import read_metrics

pytestmark = pytest.mark.whole

OFFLINE = (
    *TINY,
    "--config.wandb.mode=offline",
    "--config.wandb.tags=('tiny',)",
    "--config.wandb.group=tests",
)
ONLINE = (*TINY, "--config.wandb.mode=auto", "--config.wandb.wait=60.0")
LONGER = "--config.train.epochs=6"
LOGIN = "ghp_" + "username" * 3  # not as it is in this file, which a patch may hold


def read_log(path: pathlib.Path) -> list:
    """The records of a transaction log, up to a torn end.

    LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md): after a header of 7
    bytes, blocks of 32 KiB of chunks, each with a checksum, a length and a type: whole, first, middle, last.
    """
    content, position, records, buffer = path.read_bytes(), 7, [], b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        checksum, length, kind = struct.unpack("<IHB", content[position : position + 7])
        body = content[position + 7 : position + 7 + length]
        if len(body) < length:
            break
        assert zlib.crc32(body, zlib.crc32(bytes([kind]))) == checksum
        position += 7 + length
        buffer = buffer + body if kind in (3, 4) else body
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(buffer)
            records.append(record)
    return records


def segments(workdir: pathlib.Path) -> list[list]:
    """The records of each process that wrote to the run, in order."""
    return [read_log(path) for path in sorted(workdir.glob("wandb/offline-run-*/run-*.wandb"))]


def only(records, kind):
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def items(updates) -> dict:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in updates}


def history(records) -> list[dict]:
    """The rows of numbers; plots and tables came in the last of them, or just after."""
    return with_numbers(items(entry.item) for entry in only(records, "history"))


def with_numbers(rows) -> list[dict]:
    return [found for row in rows if (found := numbers(row))]


def numbers(row: dict) -> dict:
    return {key: value for key, value in row.items() if key.startswith(("train/", "validation/"))}


def artifact_files(artifact) -> dict[str, pathlib.Path]:
    return {entry.path: pathlib.Path(entry.local_path) for entry in artifact.manifest.contents}


def expected_history(workdir: pathlib.Path) -> list[dict]:
    """A row a step, which has what was logged of training and validation there."""
    steps: dict[int, dict] = {}
    for row in read_metrics(workdir / "metrics.jsonl"):
        if row["split"] != "test":
            values = {f"{row['split']}/{key}": value for key, value in row.items() if key != "split"}
            steps.setdefault(row["step"], {}).update(values)
    return [steps[step] for step in sorted(steps)]


def record_of(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "run.json").read_text())


def matrix_of(workdir: pathlib.Path) -> np.ndarray:
    """The matrix of confusion beside the record."""
    return np.load(workdir / "predictions.npz")["confusion"]


def check_table(workdir: pathlib.Path, read) -> None:
    """The table of predictions holds every test example and gives the metrics of run.json exactly.

    read: from the name of a file in the artifact to its bytes.
    """
    record = record_of(workdir)
    names, test = record["data"]["classes"], record["metrics"]["test"]
    table = json.loads(read("predictions.table.json"))
    assert table["columns"] == ["index", "image", "true", "predicted", "correct"] + [
        f"probability {name}" for name in names
    ]
    examples = data.load(from_record(record["config"]).data).test
    assert [row[0] for row in table["data"]] == list(range(len(examples.labels)))
    assert [row[2] for row in table["data"]] == examples.labels.tolist()
    confusion = np.zeros((len(names), len(names)), int)
    for index, image, true, predicted, correct, *probabilities in table["data"]:
        pixels = np.asarray(Image.open(io.BytesIO(read(image["path"]))))
        np.testing.assert_array_equal(pixels, examples.images[index].squeeze())
        assert predicted == int(np.argmax(probabilities))
        assert correct == (true == predicted)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        confusion[true, predicted] += 1
    assert confusion.tolist() == matrix_of(workdir).tolist()
    assert np.trace(confusion) / confusion.sum() == test["accuracy"]


def assert_no_key(workdir: pathlib.Path, done: subprocess.CompletedProcess) -> None:
    assert KEY not in done.stdout + done.stderr
    assert LOGIN not in done.stdout + done.stderr
    for path in filter(pathlib.Path.is_file, workdir.rglob("*")):
        assert KEY.encode() not in path.read_bytes(), path
        assert LOGIN.encode() not in path.read_bytes(), path


@pytest.fixture(scope="module")
def logged(run_once):
    remote = {"GIT_CONFIG_KEY_0": "remote.origin.url", "GIT_CONFIG_VALUE_0": f"https://{LOGIN}:{KEY}@a.org/b"}
    environment = {**os.environ, "GIT_CONFIG_COUNT": "1", **remote, "WANDB_API_KEY": KEY}
    return run_once("offline", *OFFLINE, env=environment)


@pytest.fixture
def backend():
    with WandbBackend() as backend:
        yield backend


def test_the_log_holds_the_run(logged):
    workdir, _ = logged
    record = record_of(workdir)
    (records,) = segments(workdir)
    assert history(records) == expected_history(workdir)
    steps = [entry.step.num for entry in only(records, "history")]
    assert steps == sorted({row["step"] for row in read_metrics(workdir / "metrics.jsonl")})
    (run,) = only(records, "run")
    assert (run.run_id, run.project, run.run_group, list(run.tags)) == (
        record["wandb_id"],
        "mnist_digit_classification",
        "tests",
        ["tiny"],
    )
    assert run.git.commit == (record["code"]["commit"] or "")
    assert run.git.remote_url == (record["code"]["remote"] or "")
    config = items(run.config.update)
    assert config["model"] == record["config"]["model"]
    assert config["code"] == record["code"]
    assert config["dataset"]["fingerprint"] == record["data"]["fingerprint"]
    assert config["dataset"]["examples"]["test"] == record["data"]["splits"]["test"]["examples"]
    assert not [value for value in config["dataset"].values() if isinstance(value, list)]
    assert config["environment"]["cpu"] == record["environment"]["cpu"]
    axes = {metric.glob_name: metric.step_metric for metric in only(records, "metric") if metric.glob_name}
    assert axes == {"train/*": "train/step", "validation/*": "validation/epoch"}
    assert [done.exit_code for done in only(records, "exit")] == [0]


def test_command_and_system_metrics_are_those_of_the_training(logged):
    """Not of the process that writes the log, which has no JAX and half the memory."""
    workdir, _ = logged
    record = record_of(workdir)
    (records,) = segments(workdir)
    environment = only(records, "environment")[0]
    assert [environment.program, *environment.args] == record["command"]
    stats = [item for entry in only(records, "stats") for item in entry.item]
    megabytes = [json.loads(item.value_json) for item in stats if item.key == "proc.memory.rssMB"]
    assert max(megabytes) > 0.6 * record["resources"]["host_peak_bytes"] / 2**20


def test_what_the_training_prints_is_in_the_log(logged):
    """All but the line about W&B itself, which comes after the end of the log."""
    workdir, done = logged
    (records,) = segments(workdir)
    assert printed(records) == done.stdout.splitlines()[:-1]


def printed(records) -> list[str]:
    return "".join(entry.line for entry in only(records, "output_logger")).splitlines()


def test_the_data_set_is_an_input_of_the_run(logged):
    """By its description: no example is uploaded."""
    workdir, _ = logged
    data_record = record_of(workdir)["data"]
    (records,) = segments(workdir)
    (artifact,) = (entry for entry in only(records, "artifact") if entry.type == "dataset")
    assert artifact.use_after_commit
    assert artifact.name == "dataset-digits-1.0.0"
    assert json.loads(artifact.metadata)["fingerprint"] == data_record["fingerprint"]
    ((name, path),) = artifact_files(artifact).items()
    assert name == "dataset.json"
    assert json.loads(path.read_text()) == data_record


def test_report_and_predictions_are_panels(logged):
    """That of the predictions points to the artifact, so that no image is uploaded twice."""
    workdir, _ = logged
    (records,) = segments(workdir)
    rows = {name: value for entry in only(records, "history") for name, value in items(entry.item).items()}
    (folder,) = workdir.glob("wandb/offline-run-*/files")
    assert (folder / rows["report/path"]).read_bytes() == (workdir / "report.html").read_bytes()
    assert rows["test/predictions/nrows"] == len(np.load(workdir / "predictions.npz")["labels"])
    (artifact,) = (entry for entry in only(records, "artifact") if entry.type == "predictions")
    path = f"wandb-client-artifact://{artifact.client_id}/predictions.table.json"
    assert rows["test/predictions/artifact_path"] == path
    assert not list(folder.glob("media/images/*"))


def test_the_log_holds_the_results(logged):
    workdir, _ = logged
    record = record_of(workdir)
    (records,) = segments(workdir)
    summary = {}
    for update in only(records, "summary"):
        summary |= items(update.update)
    test = record["metrics"]["test"]
    for name in ("accuracy", "macro_f1", "macro_roc_auc", "loss", "brier"):
        assert summary[f"test/{name}"] == test[name]
    assert summary["best/step"] == record["best"]["step"]
    assert summary["best/accuracy"] == record["metrics"]["validation"]["accuracy"]
    tables = {
        artifact.name.split("-")[2]: artifact_files(artifact)
        for artifact in only(records, "artifact")
        if artifact.type == "run_table"
    }
    assert {"testconfusion_matrix_table", "testroc_table", "testpr_table", "testper_class"} <= tables.keys()
    (per_class,) = (path for name, path in tables["testper_class"].items() if name.endswith(".table.json"))
    rows = json.loads(per_class.read_text())["data"]
    assert rows == [list(row.values()) for row in test["per_class"]]
    (matrix,) = tables["testconfusion_matrix_table"].values()
    cells = json.loads(matrix.read_text())["data"]
    assert [count for *_, count in cells] == np.ravel(matrix_of(workdir)).tolist()


def test_every_test_example_is_in_the_table_of_predictions(logged):
    workdir, _ = logged
    (records,) = segments(workdir)
    (artifact,) = (entry for entry in only(records, "artifact") if entry.type == "predictions")
    files = artifact_files(artifact)
    check_table(workdir, lambda name: files[name].read_bytes())


def test_the_best_checkpoint_is_a_model_artifact(logged):
    workdir, _ = logged
    record = record_of(workdir)
    (records,) = segments(workdir)
    (artifact,) = (entry for entry in only(records, "artifact") if entry.type == "model")
    assert sorted(artifact.aliases) == ["best", "latest"]
    metadata = json.loads(artifact.metadata)
    assert metadata["test/accuracy"] == record["metrics"]["test"]["accuracy"]
    assert metadata["step"] == record["best"]["step"]
    assert contents(artifact) == files_of(workdir / "checkpoints" / str(record["steps"]))


def test_the_model_of_an_earlier_step_is_in_the_last_checkpoint(logged, tmp_path):
    shutil.copytree(logged[0], tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("wandb", "38"))
    (tmp_path / "wandb").mkdir()
    record = record_of(tmp_path)
    del record["record_sha256"]
    record["best"]["step"] = 38
    (tmp_path / "run.json").write_text(json.dumps(record))
    program = """
import os, pathlib, sys
from mnist_jax.reporting.wandb.log import WandbRun
run = WandbRun(pathlib.Path(sys.argv[1]), 1)
run.print("the key is " + os.environ["WANDB_API_KEY"])
for _ in run.stage_images():
    pass
run.log_results()
run.finish(failed=False)
"""
    environment = {**os.environ, **_settings(tmp_path / "wandb"), "WANDB_API_KEY": KEY}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, env=environment, check=True)
    (records,) = segments(tmp_path)
    assert printed(records) == ["the key is [redacted]"]
    (artifact,) = (entry for entry in only(records, "artifact") if entry.type == "model")
    assert json.loads(artifact.metadata)["step"] == 38
    assert contents(artifact) == files_of(tmp_path / "checkpoints" / "75")


def contents(artifact):
    return {name: path.read_bytes() for name, path in artifact_files(artifact).items()}


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_key_is_nowhere(logged):
    assert_no_key(*logged)


def sync(line: str, folder: pathlib.Path, backend: WandbBackend) -> subprocess.CompletedProcess:
    """Runs the command of a run's last line, as a user would in a shell."""
    path = f"{pathlib.Path(command()[0]).parent}:{os.environ['PATH']}"
    return subprocess.run(
        shlex.split(line[line.index("wandb sync") :]),
        env={**os.environ, **backend.environment(), "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_offline_runs_say_how_to_upload_them(logged, backend):
    workdir, done = logged
    line = done.stdout.splitlines()[-1]
    assert line.startswith("W&B  ")
    assert sync(line, workdir, backend).returncode == 0
    run_id = record_of(workdir)["wandb_id"]
    assert with_numbers(backend.history(run_id)) == expected_history(workdir)
    assert backend.unknown == []


def test_a_run_online_with_the_key_from_a_file_is_on_the_server_when_it_ends(tmp_path, backend):
    """The file is .env in the working directory. The environment overrides it."""
    lines = [f"{name}={value}" for name, value in backend.environment().items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "WANDB_PROJECT=", "WANDB_SILENT=false", "OTHER=x"]))
    config, *flags = ONLINE
    config = f"--config={ROOT / config.removeprefix('--config=')}"
    environment = {**os.environ, "WANDB_SILENT": "true"}
    done = run_main(config, *flags, "--workdir=run", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    tmp_path /= "run"
    record = record_of(tmp_path)
    run_id = record["wandb_id"]
    assert done.stdout.splitlines()[-1].split() == [
        "W&B",
        f"{backend.url}/me/mnist_digit_classification/runs/{run_id}",
    ]
    assert done.stderr == ""
    assert with_numbers(backend.history(run_id)) == expected_history(tmp_path)
    run = backend.runs[run_id]
    assert run.ended == [0]
    assert run.summary["test/accuracy"] == record["metrics"]["test"]["accuracy"]
    sent = json.loads(run.files["run.json"])
    assert sent == record
    assert run.files["report.html"] == (tmp_path / "report.html").read_bytes()
    if patch := record["code"]["patch_sha256"]:
        name = f"code-{patch[:12]}.patch"
        assert run.files[name] == (tmp_path / name).read_bytes()
    by_type = {artifact.type: artifact for artifact in backend.artifacts if artifact.type != "run_table"}
    check_table(tmp_path, by_type["predictions"].files.__getitem__)
    assert by_type["dataset"].users == [run_id]
    shown, out = run.files["output.log"].decode().splitlines(), done.stdout.splitlines()
    assert shown[:-4] == out[:-5]  # then come places, here absolute, and in `out` that of W&B
    assert sorted(by_type["model"].aliases) == ["best", "latest"]
    assert all(artifact.committed for artifact in backend.artifacts)
    assert backend.unknown == []
    assert_no_key(tmp_path, done)


def test_the_clients_own_settings_say_where_a_run_goes(tmp_path, backend):
    """Its files name mode, server and project, and have the key. A password in an address stays there."""
    host = backend.url.removeprefix("http://")
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text(
        f"[default]\nmode = offline\nproject = of_the_settings\nbase_url = http://me:{LOGIN}@{host}\n"
    )
    (tmp_path / "_netrc").write_text(f"machine {host} login user password {KEY}\n")
    config, *flags = ONLINE
    config = f"--config={ROOT / config.removeprefix('--config=')}"
    environment = {**os.environ, "HOME": str(tmp_path)}
    started = {
        mode: start_main(
            config, *flags, f"--config.wandb.mode={mode}", f"--workdir={mode}", cwd=tmp_path, env=environment
        )
        for mode in ("auto", "online")
    }
    for mode, process in started.items():
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "W&B's setting base_url: user name and password are ignored" in err
        assert_no_key(tmp_path / mode, subprocess.CompletedProcess(process.args, 0, out, err))
    assert record_of(tmp_path / "auto")["wandb_mode"] == "offline"
    record = record_of(tmp_path / "online")
    assert record["wandb_mode"] == "online"
    assert {run_id: run.project for run_id, run in backend.runs.items()} == {
        record["wandb_id"]: "of_the_settings"
    }


@pytest.mark.parametrize("moods", [pytest.param(("hang",), marks=pytest.mark.long), (401, "refusing")])
def test_a_server_in_a_bad_mood_is_told_once_and_changes_nothing(tmp_path, logged, backend, moods):
    """Moods that are tried at the same time: a run spends most of it waiting."""
    started = {}
    for mood in moods:
        environment = {**os.environ, **backend.environment()}
        if mood == "refusing":
            environment["WANDB_BASE_URL"] = f"http://me:{LOGIN}@127.0.0.1:1"
        else:
            backend.mood = mood
        started[tmp_path / str(mood)] = start_main(
            *ONLINE, f"--workdir={tmp_path / str(mood)}", env=environment
        )
    for workdir, process in started.items():
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        check_told_once(workdir, logged, subprocess.CompletedProcess(process.args, 0, out, err))


def check_told_once(workdir: pathlib.Path, logged, done: subprocess.CompletedProcess) -> None:
    told = [line for line in done.stdout.splitlines() if line.startswith("W&B")]
    assert told.pop(0) == "W&B        online"
    assert len(told) == 2, told
    assert "the run continues, and its own record is complete" in told[0]
    (log,) = workdir.glob("wandb/offline-run-*")
    assert told[1].split() == ["W&B", "wandb", "sync", str(log)]
    assert record_of(workdir)["params_sha256"] == record_of(logged[0])["params_sha256"]
    (records,) = segments(workdir)
    assert history(records) == expected_history(workdir)
    assert "predictions" in {artifact.type for artifact in only(records, "artifact")}
    assert not list(log.glob("*.synced"))
    assert_no_key(workdir, done)


@pytest.fixture
def no_survivors(tmp_path):
    """Ends what still tries to upload when the test is over."""
    yield
    subprocess.run(["pkill", "-9", "-f", str(tmp_path)], check=False)


def start_online(workdir: pathlib.Path, backend: WandbBackend) -> subprocess.Popen:
    """A run that is held after its first steps, whose W&B run is on the server already."""
    arguments = (*TINY, LONGER, "--config.wandb.mode=online", "--config.wandb.wait=1.0")
    environment = {**os.environ, **backend.environment()}
    process = start_main(*arguments, f"--workdir={workdir}", env=environment)
    pause_at_step(process, workdir, 20, until=lambda: backend.runs)
    return process


@pytest.mark.usefixtures("no_survivors")
@pytest.mark.parametrize("mood", ["hang", *(pytest.param(one, marks=pytest.mark.long) for one in (500, 401))])
def test_a_server_that_dies_half_way_changes_nothing(tmp_path, backend, mood):
    process = start_online(tmp_path, backend)
    backend.mood = mood
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (records,) = segments(tmp_path)
    assert history(records) == expected_history(tmp_path)
    backend.mood = "up"
    assert sync(out.splitlines()[-1], tmp_path, backend).returncode == 0
    (run_id,) = backend.runs
    sent = with_numbers(backend.history(run_id))
    # What had arrived before is sent again, under the same steps.
    assert list({row.get("train/step"): row for row in sent}.values()) == expected_history(tmp_path)


@pytest.mark.usefixtures("no_survivors")
def test_an_upload_that_dies_is_not_taken_for_done(tmp_path, backend):
    process = start_online(tmp_path, backend)
    subprocess.run(["pkill", "-9", "-f", f"beta sync .*{tmp_path}"], check=True)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("W&B: the upload failed (its process ended with status -9)") == 1
    assert out.splitlines()[-1].split()[:3] == ["W&B", "wandb", "sync"]


def test_a_stopped_run_goes_on_as_the_same_run_and_logs_no_step_twice(tmp_path, backend):
    """Ctrl-C as a terminal sends it: to every process of the group."""
    environment = {**os.environ, **backend.environment()}
    arguments = (*ONLINE, LONGER, f"--workdir={tmp_path}")
    process = start_main(*arguments, new_session=True, env=environment)
    pause_at_step(process, tmp_path, 60, until=lambda: backend.runs)
    os.killpg(process.pid, signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert out.splitlines()[-1].startswith("W&B  ")
    assert run_main(*arguments, env=environment).returncode == 0
    first, second = segments(tmp_path)
    assert only(first, "run")[0].run_id == only(second, "run")[0].run_id == record_of(tmp_path)["wandb_id"]
    assert [done.exit_code for done in only(first, "exit")] == [1]
    assert history(first) + history(second) == expected_history(tmp_path)
    assert printed(first)[-1] == "stopped by SIGINT; " + printed(first)[-1].partition("; ")[2]
    assert printed(second)[-1].startswith("checkpoints")
    (run_id,) = backend.runs
    assert with_numbers(backend.history(run_id)) == expected_history(tmp_path)


def test_a_killed_run_is_logged_to_its_end_and_logs_no_step_twice(tmp_path, backend):
    arguments = (*OFFLINE, LONGER, f"--workdir={tmp_path}")
    process = start_main(*arguments, stdout=subprocess.DEVNULL)
    pause_at_step(process, tmp_path, 60, until=lambda: segments(tmp_path))
    process.kill()
    process.wait()
    before = expected_history(tmp_path)
    done = run_main(*arguments)
    assert done.returncode == 0
    first, second = segments(tmp_path)
    assert history(first) == before
    assert [done.exit_code for done in only(first, "exit")] == [1]
    assert untimed(history(first) + history(second)) == untimed(expected_history(tmp_path))
    assert sync(done.stdout.splitlines()[-1], tmp_path, backend).returncode == 0
    (run_id,) = backend.runs
    assert untimed(with_numbers(backend.history(run_id))) == untimed(expected_history(tmp_path))


def test_a_run_killed_with_its_writer_loses_no_row(tmp_path):
    """As when a container is killed: what the log had not on disk yet is logged by the next process."""
    arguments = (*OFFLINE, "--config.train.epochs=15", f"--workdir={tmp_path}")
    process = start_main(*arguments, stdout=subprocess.DEVNULL)
    pause_at_step(process, tmp_path, 60, until=lambda: segments(tmp_path))
    process.send_signal(signal.SIGCONT)
    wait_for_step(process, tmp_path, 150)
    process.kill()
    subprocess.run(["pkill", "-9", "-f", str(tmp_path)], check=True)
    process.wait()
    assert run_main(*arguments).returncode == 0
    rows = [row for records in segments(tmp_path) for row in history(records)]
    steps = [row["train/step"] for row in expected_history(tmp_path)]
    assert sorted({row["train/step"] for row in rows}) == steps


def untimed(rows) -> list[dict]:
    """Rows without the speed, which differs where steps were trained twice."""
    return [{key: value for key, value in row.items() if "per_second" not in key} for row in rows]


@pytest.mark.parametrize("in_the_way", ["wandb", "wandb/images"])
def test_a_process_that_fails_is_told_once(tmp_path, in_the_way):
    """A file is where a folder has to be."""
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("")
    done = run_main(*OFFLINE, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File exists") == 1
    assert done.stdout.count("the run continues, and its own record is complete") == 1
    assert record_of(tmp_path)["status"] == "finished"


def test_what_the_client_keeps_to_itself_is_not_noted_as_logged(logged, tmp_path):
    """A program that is killed with W&B's own: the newest step is in neither log nor note."""
    shutil.copy(logged[0] / "run.json", tmp_path)
    (tmp_path / "wandb").mkdir()
    program = """
import os, pathlib, signal, sys, time
from mnist_jax.reporting.wandb.log import WandbRun
run = WandbRun(pathlib.Path(sys.argv[1]), 1)
for step in (10, 20, 30):
    run.log({"split": "train", "step": step, "loss": 1.0})
until = time.monotonic() + 4
while time.monotonic() < until:
    run.remember()
    time.sleep(0.2)
os.killpg(0, signal.SIGKILL)
"""
    environment = {**os.environ, **_settings(tmp_path / "wandb")}
    run = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(run, cwd=ROOT, env=environment, process_group=0, timeout=60, check=False)
    (records,) = segments(tmp_path)
    noted = json.loads((tmp_path / "wandb" / "logged.json").read_text())["train"]
    assert noted == 20
    assert [row["train/step"] for row in history(records)][: noted // 10] == [10, 20]
