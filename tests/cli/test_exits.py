"""What a program's end comes to; whole runs that are stopped are in tests/whole."""

import pytest

from mnist_jax.cli.exits import status_of
from mnist_jax.system.errors import UserError


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
        (raising(KeyboardInterrupt()), 130, ""),
    ],
)
def test_the_exit_status(program, status, told, capsys):
    assert status_of("name", program) == status
    assert capsys.readouterr() == ("", told)


def test_a_bug_has_its_traceback():
    with pytest.raises(ZeroDivisionError):
        status_of("name", raising(ZeroDivisionError()))


def test_a_users_error_has_a_traceback_where_it_is_asked_for(capsys):
    assert status_of("name", raising(UserError("a")), verbose=lambda: True) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "name: a"
