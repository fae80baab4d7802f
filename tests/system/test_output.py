"""What a process prints where its output is closed, full, broken or of another encoding."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.system.output import printable

PRINTS = "print('a\\u00fc\\udcff'); print('b', file=sys.stderr); open('made', 'w').write('c')"


def run(program, tmp_path, redirect="", **environment):
    """Runs a Python program with protected output by a shell, with its redirections."""
    head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom mnist_jax.system import output\n"
    return subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {redirect}', sys.executable, f"{head}output.protect()\n{program}"],
        cwd=tmp_path, env={**os.environ, **environment}, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "redirect",
    [
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>&1",
        "| sleep 0.1; ls made >/dev/null",
    ],
)
def test_what_cannot_be_printed_ends_nothing(tmp_path, redirect):
    slow = "import time; time.sleep(0.3)\n" if "sleep" in redirect else ""
    done = run(slow + PRINTS, tmp_path, redirect)
    assert done.returncode == 0
    assert done.stderr in (b"", b"b\n")
    assert (tmp_path / "made").read_text() == "c"


@pytest.mark.parametrize(
    ("environment", "out"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"a\\xfc\\udcff\n"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, b"a\xfc\\udcff\n"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"a\\xfc\\udcff\n"),
        ({"PYTHONUNBUFFERED": "1"}, b"a\xc3\xbc\\udcff\n"),
        ({}, b"a\xc3\xbc\\udcff\n"),
    ],
)
def test_every_text_can_be_printed_in_every_encoding(tmp_path, environment, out):
    done = run(PRINTS, tmp_path, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, out, b"b\n")


@pytest.mark.parametrize(("redirect", "reason"), [(">&-", "Bad file"), (">/dev/full", "No space")])
def test_output_that_is_the_result_is_required(tmp_path, redirect, reason):
    program = "output.require_output()\ntry: print('a', flush=True)\n"
    done = run(program + "except output.OutputLost as lost: sys.exit(str(lost))", tmp_path, redirect)
    assert done.returncode == 1
    assert done.stderr.startswith(f"standard output cannot be written: {reason}".encode())
    assert done.stderr.count(b"\n") == 1


def test_no_file_of_a_run_gets_the_descriptor_of_a_closed_output(tmp_path):
    done = run("sys.exit(open('made', 'w').fileno() < 3)", tmp_path, "<&- >&- 2>&-")
    assert done.returncode == 0


def test_an_output_that_another_program_made_non_blocking_takes_everything(tmp_path):
    program = "import os; os.set_blocking(1, False)\nfor _ in range(200): print('x' * 4096)"
    done = run(program, tmp_path, "| { sleep 0.2; wc -c; }")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"%d" % (200 * 4097), b"")


def test_what_does_something_to_a_terminal_is_escaped():
    assert printable("a\x1b[31m\n\t\x9b\u202e\u2028\udcff\x7f") == (
        "a\\x1b[31m\\n\\t\\x9b\\u202e\\u2028\\udcff\\x7f"
    )
    kept = "stra\u00dfe \u65e5\u672c [red] :smile: \U0001f600 \u0646\u0627\u0645 C:\\x"
    assert printable(kept) == kept


@given(st.text(st.characters()))
def test_a_printable_text_is_one_line_without_control_characters(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
    assert printable(shown) == shown
    shown.encode()
