"""scripts/sweep_slurm.sh, with a stand-in for srun and the variables of a Slurm array."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, TINY, run_command

pytestmark = pytest.mark.whole

SCRIPT = ROOT / "scripts" / "sweep_slurm.sh"


@pytest.fixture
def array(tmp_path):
    """Runs the script as a task of an array."""
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "sweep.py").write_text('def get_sweep():\n    return {"a": {}, "b": {"seed": 1}}\n')

    def run(task):
        names = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable}
        return subprocess.run(
            [SCRIPT, *TINY, f"--sweep={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / 'runs'}"],
            cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, **names, "SLURM_ARRAY_TASK_ID": str(task)},
        )  # fmt: skip

    return run


def test_a_task_runs_its_member_alone(array, tmp_path):
    done = array(1)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs" / "b" / "run.json").read_text())["status"] == "finished"
    assert not (tmp_path / "runs" / "a").exists()
    done = array(2)
    assert done.returncode == 2
    assert "--member=2 must be a member of the sweep; --list prints its 2 members" in done.stderr


def test_the_usage_that_it_shows_fits_the_reports_sweep():
    text = SCRIPT.read_text()
    last = int(re.search(r"--array=0-(\d+)", text)[1])
    sweep = ("--config=configs/mnist.py", "--sweep=configs/sweeps/report.py", "--workdir=runs/report")
    listed = run_command("sweep", *sweep, "--list")
    assert len(listed.stdout.splitlines()) == last + 1
    assert "--signal=TERM@" in text
