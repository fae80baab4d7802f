"""Mistakes on the command line, as a user makes them: one line, exit status 2, nothing written."""

import importlib
import pathlib

import pytest
from conftest import ROOT, run_main

import main
from mnist_jax.cli.commands import COMMANDS, Command, execute
from mnist_jax.cli.parsing import Parser
from mnist_jax.config.fields import DATA_FOLDERS
from mnist_jax.data import cache, downloads, folders

pytestmark = pytest.mark.whole

DIGITS = "--config=configs/digits.py"


@pytest.fixture
def mistake(capsys, monkeypatch):
    """Runs main.py's program with these arguments, and returns the line that it prints."""
    monkeypatch.setattr("mnist_jax.system.terminal.quiet_libraries", lambda: None)
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> str:
        assert execute("main.py", Command(main.__doc__, main.add_flags, main.run), list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("main.py: ")
        return line

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--config is missing; for example --config=configs/digits.py"),
        ((DIGITS,), "--workdir is missing; for example --workdir=runs/digits"),
        (("--config=", "--workdir=RUN"), "--config is missing"),
        (("--config=configs/nope.py", "--workdir=RUN"), "--config=configs/nope.py must be a file"),
        ((DIGITS, "--config", "--workdir=RUN"), "--config=--workdir=RUN must be a file"),
        ((DIGITS, "--workdir=RUN", "--config.train.batchsize=3"), "did you mean config.train.batch_size?"),
        ((DIGITS, "--workdir=RUN", "--config.trian.epochs=3"), "did you mean config.train.epochs?"),
        (
            (DIGITS, "--workdir=RUN", "--config.train.batch_size=0"),
            "config.train.batch_size must be an integer of at least 1 (got 0)",
        ),
        (
            (DIGITS, "--workdir=RUN", "--config.train.batch_size=1e3"),
            "config.train.batch_size must be an integer of at least 1 (got '1e3')",
        ),
        (
            (DIGITS, "--workdir=RUN", "--config.augment.flip=maybe"),
            "config.augment.flip must be True or False (got 'maybe')",
        ),
        ((DIGITS, "--workdir=RUN", "--config.model.widths=8,x"), "config.model.widths must be a tuple"),
        (
            (DIGITS, "--workdir=RUN", *2 * ("--config.model.widths=(8,8)",)),
            "config.model.widths must be given once (got it 2 times)",
        ),
        ((DIGITS, "--workdir=RUN", "--resum=force"), "--resum is not a flag; did you mean --resume=force?"),
        ((DIGITS, "--workdir=RUN", "--resume=never"), "--resume must be one of auto, force (got 'never')"),
        (
            (DIGITS, "--workdir=RUN", "--resume"),
            "--resume must be given with a value, such as --resume=auto|force",
        ),
        ((DIGITS, "--workdir=RUN", "--epochs=5"), "did you mean --config.train.epochs=5?"),
        ((DIGITS, "--workdir=RUN", "config.seed=5"), "did you mean --config.seed=5?"),
        ((DIGITS, "--work-dir=RUN"), "--work-dir is not a flag; did you mean --workdir=RUN?"),
        ((DIGITS, "--output=RUN"), "--output is not a flag; did you mean --workdir=RUN?"),
        ((DIGITS, "--workdir=RUN", "--config.train=3"), "config.train must be followed by a field"),
        ((DIGITS, "--workdir=RUN", "--config.seed", "=", "3"), "write --config.seed=VALUE without spaces"),
        ((DIGITS, "--workdir=RUN", "--config.seed"), "(got no value)"),
        (("--workdir=RUN", "--mode=evaluate"), "RUN must be the workdir of a run (got no run.json in it)"),
        ((DIGITS, "--workdir=RUN", "surplus"), "'surplus' is not a flag"),
        ((DIGITS, "--workdir=gs://b/x"), "--workdir must be in a file system (got 'gs://b/x'); mount"),
        ((DIGITS, "--workdir=~no-such-user/x"), "--workdir must begin with a home folder that exists"),
        (("--config=~/nope.py", "--workdir=RUN"), "--config=~/nope.py must be a file"),
    ],
)
def test_a_mistake_is_one_line(mistake, tmp_path, arguments, expected):
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
    ],
)
def test_a_config_that_is_no_python_is_one_line(mistake, tmp_path, program, expected):
    config = tmp_path / "mine.py"
    config.write_text(program)
    assert expected in mistake(f"--config={config}", f"--workdir={tmp_path / 'run'}")


def test_a_mistake_that_the_data_shows_leaves_nothing(mistake, tmp_path):
    run = tmp_path / "runs" / "run"
    assert "no such split" in mistake(DIGITS, f"--workdir={run}", "--config.data.test=trian")
    assert list(tmp_path.iterdir()) == []


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
