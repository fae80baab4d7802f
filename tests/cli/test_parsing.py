"""Mistakes on the command line, as a user makes them: one line, exit status 2, nothing written."""

import importlib
import pathlib

import pytest
from conftest import run_main

from mnist_jax.cli.commands import COMMANDS
from mnist_jax.cli.parsing import Parser
from mnist_jax.config.fields import DATA_FOLDERS
from mnist_jax.data import cache, downloads, folders

pytestmark = pytest.mark.whole

DIGITS = "--config=configs/digits.py"


def mistake(*arguments: str) -> str:
    done = run_main(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("main.py: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--config is missing; for example --config=configs/digits.py"),
        ((DIGITS,), "--workdir is missing; for example --workdir=runs/digits"),
        (("--config=", "--workdir=RUN"), "--config is missing"),
        (("--config=configs/nope.py", "--workdir=RUN"), "--config=configs/nope.py: there is no such file"),
        ((DIGITS, "--config", "--workdir=RUN"), "--config=--workdir=RUN: there is no such file"),
        ((DIGITS, "--workdir=RUN", "--config.train.batchsize=3"), "did you mean config.train.batch_size?"),
        ((DIGITS, "--workdir=RUN", "--config.trian.epochs=3"), "did you mean config.train.epochs?"),
        (
            (DIGITS, "--workdir=RUN", "--config.train.batch_size=0"),
            "config.train.batch_size must be an integer from 1 to 2147483647 (got 0)",
        ),
        (
            (DIGITS, "--workdir=RUN", "--config.train.batch_size=1e3"),
            "config.train.batch_size must be an integer from 1 to 2147483647 (got '1e3')",
        ),
        (
            (DIGITS, "--workdir=RUN", "--config.augment.flip=maybe"),
            "config.augment.flip must be True or False (got 'maybe')",
        ),
        ((DIGITS, "--workdir=RUN", "--config.model.widths=8,x"), "config.model.widths must be a tuple"),
        (
            (DIGITS, "--workdir=RUN", *2 * ("--config.model.widths=(8,8)",)),
            "config.model.widths is given 2 times",
        ),
        ((DIGITS, "--workdir=RUN", "--resum=force"), "--resum is not a flag; did you mean --resume?"),
        ((DIGITS, "--workdir=RUN", "--resume=never"), "auto|force"),
        ((DIGITS, "--workdir=RUN", "surplus"), "'surplus' is not a flag"),
        ((DIGITS, "--workdir=gs://b/x"), "--workdir must be in a file system (got 'gs://b/x'); mount"),
        ((DIGITS, "--workdir=~no-such-user/x"), "--workdir must begin with a home folder that exists"),
        (("--config=~/nope.py", "--workdir=RUN"), "--config=~/nope.py: there is no such file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, expected):
    run = tmp_path / "run"
    told = mistake(*(argument.replace("RUN", str(run)) for argument in arguments))
    assert expected.replace("RUN", str(run)) in told
    assert not run.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_that_names_a_file_or_folder_knows_the_home_folder(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = Parser(name, "")
    importlib.import_module(f"mnist_jax.cli.{name}").add_flags(parser)
    for action in parser._actions:
        assert action.type is not pathlib.Path
        if action.dest in ("workdir", "workdirs", "into", "folders"):
            assert action.type("~/runs/x") == tmp_path / "runs" / "x"


def test_every_field_that_names_a_folder_knows_the_home_folder(monkeypatch, tmp_path, tiny_config):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x" / "train").mkdir(parents=True)
    tiny_config.data.update(dict.fromkeys(DATA_FOLDERS, "~/x"))
    assert downloads.data_folder(tiny_config.data) == tmp_path / "x"
    assert downloads.manual_folder(tiny_config.data) == tmp_path / "x"
    assert cache.datasets_folder(tiny_config.data) == tmp_path / "x" / "datasets"
    assert folders._root(tiny_config.data.dir) == tmp_path / "x"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "from configs import default\ndef get_config():\n  c = default.get_config()\n  c.trian = 1",
            "trian",
        ),
        (
            "from configs import default\ndef get_config():\n  c = default.get_config()\n  c.seed = 'x'",
            "line 4",
        ),
        ("get_confg = 1", "get_config"),
        ("def get_config():\n  return 3", "CONFIG"),
    ],
)
def test_a_config_that_does_not_work_is_told_in_one_line(tmp_path, program, expected):
    config = tmp_path / "mine.py"
    config.write_text(program)
    line = mistake(f"--config={config}", f"--workdir={tmp_path / 'run'}")
    assert expected.replace("CONFIG", f"--config={config}") in line


def test_mistakes_that_the_data_shows_leave_no_record(tmp_path):
    run = tmp_path / "run"
    assert "no such split" in mistake(DIGITS, f"--workdir={run}", "--config.data.test=trian")
    assert not (run / "run.json").exists()


def test_help_shows_the_flags():
    done = run_main("--help")
    assert done.returncode == 0
    for text in ("--config", "--workdir", "--resume", "Exit status", "python main.py --config="):
        assert text in done.stdout


def test_verbosity_shows_the_traceback():
    done = run_main(DIGITS, "--workdir=/proc/nowhere", "--verbosity=1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("main.py: --workdir=/proc/nowhere cannot be written")
