"""Exit statuses and last messages; tests/whole stops whole runs."""

import os
import signal
import sys

import launcher
import pytest

from mnist_jax.cli import exits
from mnist_jax.cli.exits import status_of
from mnist_jax.system.errors import PeerLost, UserError
from mnist_jax.system.output import OutputLost


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    ("program", "status", "told"),
    [
        (lambda: None, 0, ""),
        (lambda: 1, 1, ""),
        (raising(UserError("a must be\n b")), 2, "name: a must be b\n"),
        (raising(UserError("\x1b[31m a\udcff")), 2, "name: \\x1b[31m a\\udcff\n"),
        (raising(OutputLost("it is full")), 1, "name: it is full\n"),
    ],
)
def test_the_exit_status(program, status, told, capsys):
    assert status_of("name", program) == status
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (PeerLost("process 1 is gone"), 1, "name: process 1 is gone\n"),
        (MemoryError(), 2, "name: out of memory; "),
    ],
)
def test_the_status_of_a_process_that_ends_at_once(error, status, told, capsys, monkeypatch):
    monkeypatch.setattr(exits, "_leave", sys.exit)  # it would end this one
    with pytest.raises(SystemExit) as ended:
        status_of("name", raising(error))
    assert ended.value.code == status
    assert capsys.readouterr().err.startswith(told)


def test_ctrl_c_ends_a_program_that_swallows_exceptions(capsys, monkeypatch):
    monkeypatch.setattr(exits, "_leave", sys.exit)
    with launcher.default_signals(), pytest.raises(SystemExit) as ended:
        status_of("name", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "name: stopped by SIGINT\n"


def test_an_error_on_a_terminal_is_broken_at_spaces(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    path = "/" + "a" * 50
    status_of("name", raising(UserError(f"config.data.dir must be a folder (got {path}); give another one")))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["name: config.data.dir must be a folder", "(got", f"{path});", "give another one"]


def test_a_bug_has_its_traceback():
    with pytest.raises(ZeroDivisionError):
        status_of("name", raising(ZeroDivisionError()))


def test_a_users_error_has_a_traceback_where_it_is_asked_for(capsys):
    assert status_of("name", raising(UserError("a")), verbose=lambda: True) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "name: a"
