"""`mnist-jax runs` as users run it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, run_command

pytestmark = pytest.mark.whole


def test_a_folder_of_any_name_is_listed_in_every_encoding(tiny_run, tmp_path):
    names = [b"a\x1b[31m\n", b"\xff", "\u00fc".encode()]
    for name in names:
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        shutil.copy(tiny_run / "run.json", folder)
    done = run_command("runs", ".", cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    listed = sorted(line.split()[0] for line in done.stdout.splitlines()[1:4])
    assert listed == ["\\udcff", "\\xfc", "a\\x1b[31m\\n"]
    lines = run_command("runs", "--json", ".", cwd=tmp_path).stdout.splitlines()
    assert sorted(os.fsencode(json.loads(line)["workdir"]) for line in lines) == sorted(names)


@pytest.mark.parametrize(
    ("redirect", "told"),
    [
        (">/dev/full", "mnist-jax runs: standard output cannot be written: No space left on device"),
        (">&-", "mnist-jax runs: standard output cannot be written: Bad file descriptor"),
        ("| true", ""),
    ],
)
def test_a_list_that_cannot_be_written_is_an_error(tmp_path, redirect, told):
    shell = f'{{ "$@"; echo $? >&2; }} {redirect}'
    program = [sys.executable, "-m", "mnist_jax", "runs", str(tmp_path)]
    done = subprocess.run(["sh", "-c", shell, "sh", *program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-2:] == [*filter(None, [told]), "1"]
