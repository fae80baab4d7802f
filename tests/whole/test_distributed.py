"""Jobs of two real processes on this machine, as a launcher starts them."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import launcher
import pytest
from conftest import ROOT, TINY, run_main, start_main
from whole_runs import wait_for_step, with_devices

from mnist_jax.system import distributed
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

LONGER = (*TINY, "--config.train.epochs=4")
LOST = re.compile(
    r"main\.py: process [01] of 2: another process of this job ended or cannot be reached; .*\n"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_two(*flags):
    """The two processes of a job, the first first."""
    job = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    return [start_main(*flags, *job, f"--process_id={place}") for place in range(2)]


def end(processes, timeout=180):
    outputs = [process.communicate(timeout=timeout) for process in processes]
    return [process.returncode for process in processes], outputs


def record_of(workdir):
    return json.loads((workdir / "run.json").read_text())


# What srun does, with the output of each process in a file of its own.
SRUN = """#!/bin/sh
shift  # --kill-on-bad-exit
for place in 0 1; do
    SLURM_PROCID=$place SLURM_LOCALID=$place "$@" >"$OUTPUTS/$place.out" 2>"$OUTPUTS/$place.err" &
done
wait
"""


@pytest.fixture(scope="module")
def together(once):
    """The workdir of a finished job of two, and the output of each.

    It is started by the script for Slurm, with a stand-in for srun and the variables that srun sets.
    """

    def run(folder):
        tools = folder.with_name("together tools")
        tools.mkdir(exist_ok=True)
        (tools / "srun").write_text(SRUN)
        (tools / "srun").chmod(0o755)
        job = {"SLURM_JOB_ID": str(random.randrange(10**6)), "SLURM_STEP_NODELIST": "127.0.0.1"}
        job |= {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
        job |= {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHON": sys.executable, "OUTPUTS": str(tools)}
        subprocess.run(
            [ROOT / "scripts" / "slurm.sbatch", *LONGER, f"--workdir={folder}"],
            cwd=ROOT, env={**os.environ, **job}, check=True, capture_output=True,
        )  # fmt: skip
        return [[(tools / f"{place}.{end}").read_text() for end in ("out", "err")] for place in (0, 1)]

    return once("together", run)


def test_two_processes_come_to_what_two_devices_of_one_do(together, tmp_path):
    workdir, _ = together
    done = run_main(*LONGER, f"--workdir={tmp_path}", env=with_devices(2))
    assert done.returncode == 0, done.stderr
    assert record_of(workdir)["params_sha256"] == record_of(tmp_path)["params_sha256"]
    assert record_of(workdir)["metrics"] == record_of(tmp_path)["metrics"]


def test_the_first_tells_and_writes_alone(together):
    workdir, ((out, err), (other_out, other_err)) = together
    assert "accuracy" in out
    assert other_out == ""
    assert (err, other_err) == ("", "")
    record = record_of(workdir)
    assert record["status"] == "finished"
    assert len(record["processes"]) == 1
    assert record["environment"]["accelerator"]["processes"] == 2
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == len({(row["split"], row["step"]) for row in rows})


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_process_that_dies_ends_the_job_which_goes_on_when_started_again(together, tmp_path, victim):
    flags = (*LONGER, f"--workdir={tmp_path}")
    processes = start_two(*flags)
    while (
        not (tmp_path / "metrics.jsonl").exists() or (tmp_path / "metrics.jsonl").read_text().count("\n") < 6
    ):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    survivor = processes[1 - victim]
    _, err = survivor.communicate(timeout=90)
    assert time.monotonic() - killed < 80  # it is seconds, unless JAX has to wait for a sign of life
    assert survivor.returncode == 1
    assert LOST.fullmatch(err)
    processes[victim].communicate()

    statuses, outputs = end(start_two(*flags))
    assert statuses == [0, 0], outputs
    assert record_of(tmp_path)["resumes"] == 1
    assert record_of(tmp_path)["params_sha256"] == record_of(together[0])["params_sha256"]


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_hangs_ends_the_job_with_one_line_each(tmp_path, victim):
    program = (
        "import runpy, sys\nfrom mnist_jax.system import distributed\ndistributed._SILENT_SECONDS = 10\n"
        "sys.argv[0] = 'main.py'\nrunpy.run_path('main.py', run_name='__main__')"
    )
    flags = (*LONGER, "--config.train.epochs=2000", f"--workdir={tmp_path}")
    job = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}  # JAX set it
    processes = [
        launcher.start_anew([sys.executable, "-c", program, *flags, *job, f"--process_id={place}"], env=env)
        for place in range(2)
    ]
    wait_for_step(processes[0], tmp_path, 20)
    processes[victim].send_signal(signal.SIGSTOP)
    _, err = processes[1 - victim].communicate(timeout=90)
    processes[victim].send_signal(signal.SIGCONT)
    _, its = processes[victim].communicate(timeout=90)
    assert [process.returncode for process in processes] == [1, 1]
    assert LOST.fullmatch(err)
    assert LOST.fullmatch(its)


def test_a_signal_to_one_stops_all_at_the_same_step(together, tmp_path):
    flags = (*LONGER, f"--workdir={tmp_path}")
    processes = start_two(*flags)
    # A row needs steps of both; before its first a process that is told to stop has nothing to save.
    while not (tmp_path / "metrics.jsonl").exists() or not (tmp_path / "metrics.jsonl").read_text():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    statuses, outputs = end(processes)
    assert statuses == [143, 143], outputs
    assert record_of(tmp_path)["status"] == "interrupted"
    done = run_main(*flags, env=with_devices(2))  # by one process with as many devices
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path)["params_sha256"] == record_of(together[0])["params_sha256"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "host-0"}, False),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1"}, True),
    ],
)
def test_whether_there_are_others(monkeypatch, environment, expected):
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert distributed._launched_with_others() == expected


@pytest.mark.parametrize("error", [ValueError("no coordinator"), OSError("no metadata"), None])
def test_on_a_tpu_jax_is_asked_whether_there_are_others(monkeypatch, error):
    asked = []

    def initialize(*arguments, **_):
        asked.append(arguments)
        if error:
            raise error

    monkeypatch.setattr(distributed, "_has_tpu", lambda: True)
    monkeypatch.setattr("jax.distributed.initialize", initialize)
    distributed.start(None, None, None, program="main.py")
    assert asked == [(None, None, None)]
    assert (distributed.count(), distributed.is_first()) == (1, True)


def test_others_of_a_tpu_slice_that_do_not_come(monkeypatch):
    def initialize(*_, **__):
        raise RuntimeError("deadline exceeded")

    monkeypatch.setattr(distributed, "_has_tpu", lambda: True)
    monkeypatch.setattr("jax.distributed.initialize", initialize)
    with pytest.raises(UserError, match=r"the other processes .* cannot be reached: deadline exceeded"):
        distributed.start(None, None, None, program="main.py")


def test_flags_that_belong_together():
    with pytest.raises(UserError, match="must be given together"):
        distributed.start("127.0.0.1:1", None, 0, program="main.py")


@pytest.mark.long
def test_a_member_of_a_population_has_the_bits_of_a_job_of_its_own(together, tmp_path):
    statuses, outputs = end(start_two(*LONGER, "--config.population.seeds=2", f"--workdir={tmp_path}"))
    assert statuses == [0, 0], outputs
    member, alone = record_of(tmp_path / "seed=0"), record_of(together[0])
    assert member["params_sha256"] == alone["params_sha256"]
    assert member["metrics"] == alone["metrics"]
    assert record_of(tmp_path)["status"] == record_of(tmp_path / "seed=1")["status"] == "finished"


@pytest.mark.long
def test_a_damaged_share_of_one_process_gives_way_in_all(tmp_path):
    flags = (*TINY, "--config.mesh.shard_params", f"--workdir={tmp_path}")
    statuses, outputs = end(start_two(*flags))
    assert statuses == [0, 0], outputs
    expected = record_of(tmp_path)["params_sha256"]
    shares = (tmp_path / "checkpoints" / "75" / "train").glob("ocdbt.process_1/d/*")
    path = max(shares, key=lambda one: one.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (tmp_path / "run.json").unlink()
    statuses, outputs = end(start_two(*flags))
    assert statuses == [0, 0], outputs
    assert "its arrays were changed since they were written); using the one before" in outputs[0][1]
    assert record_of(tmp_path)["params_sha256"] == expected
