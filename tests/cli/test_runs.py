"""`mnist-jax runs` as users run it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, run_command

from mnist_jax.cli.runs import differences_of, fitting, print_runs
from mnist_jax.studies.listing import ListedRun


def listed(name, data, seed=0, rate=0.1, note="", accuracy=0.9):
    fields = {"data.name": data, "data.mean": [len(data)], "seed": seed, "optimizer.learning_rate": rate}
    status = "failed" if note else "finished"
    return ListedRun(pathlib.Path(name), status, note, None, f"{data}/1", "c" * 8, accuracy, 0.9, 0.1, fields)


RUNS = [
    listed("runs/a", "digits"),
    listed("runs/b", "digits", rate=0.5, seed=3),
    listed("runs/c", "digits", note="the loss is nan at step 3; " * 9, accuracy=None),
    listed("runs/d", "mnist"),
    listed("runs/" + "e" * 90, "mnist", rate=0.01),
]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_table_has_the_width_of_the_terminal(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    print_runs(RUNS, None)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].split()[:2] == ["runs/a", "digits/1"]
    assert ("age" in lines[0]) == (width > 80)


def test_a_run_differs_from_most_of_its_data_set_in_the_fields_that_matter(monkeypatch, capsys):
    assert differences_of(RUNS[:4])[:2] == [[], ["learning_rate=0.5", "seed=3"]]
    assert differences_of(RUNS)[3] == []
    assert fitting(["learning_rate=0.5", "seed=3", "epochs=3"], 24) == "learning_rate=0.5 +2"
    assert fitting(["learning_rate=0.5"], 10) == "learnin..."
    print_runs(RUNS[:2], pathlib.Path("runs"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["run", "a", "b"]


@pytest.mark.whole
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


@pytest.mark.whole
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
