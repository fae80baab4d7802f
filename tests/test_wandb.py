"""What the real W&B client wrote offline, read back from its transaction log."""

import json
import os
import pathlib
import signal
import struct
import subprocess
import zlib

import pytest
from conftest import ROOT, TINY, command, run_main
from test_train import wait_for_step
from wandb.proto import wandb_internal_pb2

from mnist_jax.tracking import read_metrics
from mnist_jax.train import train_and_evaluate

OFFLINE = (
    *TINY,
    "--config.wandb.mode=offline",
    "--config.wandb.tags=('tiny',)",
    "--config.wandb.group=tests",
)


def read_log(path: pathlib.Path) -> list:
    """The records of a transaction log, up to a torn end.

    LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md): after a header of 7
    bytes, blocks of 32 KiB of chunks, each with a checksum, a length and a type: whole, first, middle, last.
    """
    data, position, records, buffer = path.read_bytes(), 7, [], b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[position : position + 7])
        body = data[position + 7 : position + 7 + length]
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


def history(records) -> list[dict]:
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
            rows.append({key: value for key, value in row.items() if not key.startswith("_")})
    return rows


def only(records, kind):
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def expected_history(workdir: pathlib.Path) -> list[dict]:
    return [
        {f"{row['split']}/{key}": value for key, value in row.items() if key != "split"}
        for row in read_metrics(workdir / "metrics.jsonl")
        if row["split"] != "test"
    ]


def test_the_log_holds_the_run(tmp_path):
    assert run_main(*OFFLINE, f"--workdir={tmp_path}").returncode == 0
    record = json.loads((tmp_path / "run.json").read_text())
    (records,) = segments(tmp_path)
    assert history(records) == expected_history(tmp_path)
    (run,) = only(records, "run")
    assert (run.run_id, run.project, run.run_group, list(run.tags)) == (
        record["wandb_id"],
        "mnist_digit_classification",
        "tests",
        ["tiny"],
    )
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["model"] == record["config"]["model"]
    assert config["code"] == record["code"]
    assert config["dataset"]["fingerprint"] == record["data"]["fingerprint"]
    axes = {metric.glob_name: metric.step_metric for metric in only(records, "metric") if metric.glob_name}
    assert axes == {"train/*": "train/step", "validation/*": "validation/step"}
    summary = {}
    for update in only(records, "summary"):
        summary.update({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in update.update})
    assert summary["test/accuracy"] == record["metrics"]["test"]["accuracy"]
    assert [done.exit_code for done in only(records, "exit")] == [0]


def test_a_stopped_run_goes_on_as_the_same_run_and_logs_no_step_twice(tmp_path):
    """Ctrl-C as a terminal sends it: to every process of the group, W&B's own among them."""
    arguments = (*OFFLINE, "--config.train.epochs=6", f"--workdir={tmp_path}")
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_step(process, tmp_path, 60)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "W&B failed" not in out
    assert run_main(*arguments).returncode == 0
    first, second = segments(tmp_path)
    assert only(first, "run")[0].run_id == only(second, "run")[0].run_id
    assert history(first) + history(second) == expected_history(tmp_path)


def test_a_killed_run_logs_no_step_twice(tmp_path):
    arguments = (*OFFLINE, "--config.train.epochs=6", f"--workdir={tmp_path}")
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for_step(process, tmp_path, 60)
    process.kill()
    process.wait()
    assert run_main(*arguments).returncode == 0
    logged = [row for records in segments(tmp_path) for row in history(records)]
    steps = [(key, value) for row in logged for key, value in row.items() if key.endswith("/step")]
    assert len(set(steps)) == len(steps)
    expected = expected_history(tmp_path)
    assert all(row in expected for row in logged if "validation/step" in row)


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_a_failing_client_is_told_once_and_the_run_goes_on(
    tmp_path, tiny_config, monkeypatch, capsys, broken
):
    import wandb

    def fail(*_, **__):
        raise ConnectionResetError("wandb-core is gone")

    monkeypatch.setattr(*((wandb, "init") if broken == "init" else (wandb.Run, broken)), fail)
    tiny_config.wandb.mode = "offline"
    record = train_and_evaluate(tiny_config, tmp_path)
    assert record["status"] == "finished"
    assert capsys.readouterr().out.count("W&B failed, the run goes on without: ConnectionResetError") == 1
    wandb.teardown()
