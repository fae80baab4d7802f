"""A forked program behaves as if started by Python."""

import json
import os
import signal
import subprocess
import time

import launcher
import pytest

SHOW = """
import atexit, json, os, signal, sys
atexit.register(print, "last words", file=sys.stderr)
print(json.dumps({
    "argv": sys.argv[1:], "cwd": os.getcwd(), "given": sys.stdin.read(), "name": __name__,
    "mine": os.environ.get("MINE"), "leader": os.getsid(0) == os.getpid(),
    "signals": [signal.getsignal(n) in (signal.SIG_DFL, signal.default_int_handler) for n in (1, 2, 15)],
}))
sys.exit(7)
"""


@pytest.fixture
def show(tmp_path):
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path / "show.py"


@pytest.mark.parametrize("anew", [False, True])
def test_a_program_has_what_it_was_given_and_ends_as_it_says(show, tmp_path, anew):
    env = {**os.environ, "MINE": "x"} | ({"PYTHONHASHSEED": "1"} if anew else {})
    options = {"given": b"in", "cwd": tmp_path, "env": env, "new_session": True}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        done = launcher.run([show, "a", "b c"], **options)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (done.returncode, done.stderr) == (7, "last words\n")
    assert json.loads(done.stdout) == {
        "argv": ["a", "b c"], "cwd": str(tmp_path), "given": "in", "name": "__main__", "mine": "x",
        "leader": True, "signals": [True] * 3,
    }  # fmt: skip


def test_a_traceback_a_signal_and_a_program_that_takes_too_long(tmp_path):
    (tmp_path / "fails.py").write_text("raise KeyError('gone')")
    done = launcher.run([tmp_path / "fails.py"])
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'gone'\n")
    (tmp_path / "waits.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(600)")
    process = launcher.start([tmp_path / "waits.py"])
    assert process.stdout.readline() == "here\n"
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    process.kill()  # nothing is there any more
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.run([tmp_path / "waits.py"], timeout=0.5)
    assert time.monotonic() - started < 60


def test_signals_are_as_a_shell_leaves_them_for_a_moment():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launcher.default_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
