"""Programs of this project as processes, forked from one that has imported JAX already.

Importing JAX, Flax and Orbax takes a process two to four seconds, more than a small run computes. `start`
gives a process its own memory, arguments, environment, working directory, standard streams, signals and exit.
A process whose environment changes what imports read starts Python itself.
"""

import contextlib
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

ROOT = pathlib.Path(__file__).resolve().parents[2]
_IMPORTED = ("jax", "orbax.checkpoint", "tensorflow_datasets", "mnist_jax.loop", "mnist_jax.evaluation")
_READ_BY_IMPORTS = ("JAX_", "PYTHON", "TFDS_", "TF_", "LC_", "LANG", "LD_", "OPENBLAS_", "OMP_", "TZ")
_REPLY = struct.Struct("ii")  # process id, and its wait status, or -1 at its start
_SIGNALS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
}


@contextlib.contextmanager
def default_signals() -> Iterator[None]:
    """Signals as a shell leaves them, whatever this process inherited from `nohup` or a CI runner."""
    before = {signum: signal.signal(signum, handler) for signum, handler in _SIGNALS.items()}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def start(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: pathlib.Path = ROOT,
    stdin: int | IO | None = None,
    stdout: int | IO = subprocess.PIPE,
    stderr: int | IO = subprocess.PIPE,
    new_session: bool = False,
) -> "Forked | subprocess.Popen[str]":
    """Starts `python SCRIPT ARGUMENTS` or `python -m MODULE ARGUMENTS`, as a user would.

    arguments: the script, by its path in the checkout, or "-m" and the module first. env: the whole
    environment; this process's, if None. stdin: nothing, if None. stdout, stderr: as for subprocess.Popen.
    """
    given = list(map(str, arguments))
    env = dict(os.environ if env is None else env)
    if given[0] != "-m":
        given[0] = str(ROOT / given[0])
    if not _imports_differently(env):
        return Forked(given, env, cwd, stdin, stdout, stderr, new_session)
    from mnist_jax.system.installation import child_environment

    return start_anew(
        [sys.executable, *given],
        env=child_environment(env), cwd=cwd, stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=stdout, stderr=stderr, start_new_session=new_session,
    )  # fmt: skip


def start_anew(command: Sequence[str], **options) -> "subprocess.Popen[str]":
    """subprocess.Popen with its output in pipes, in the checkout, with signals as a shell leaves them."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with default_signals():
        return subprocess.Popen(command, **(pipes | options))


def run(
    arguments: Sequence[str | os.PathLike[str]], *, given: bytes = b"", timeout: float = 300, **options
) -> "subprocess.CompletedProcess[str]":
    """`start`, then waits: returns output and exit status. given: its standard input."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        process = start(arguments, stdin=stdin, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)


class Forked:
    """A process of the server, with what tests use of subprocess.Popen."""

    def __init__(
        self,
        arguments: list[str],
        env: dict[str, str],
        cwd: pathlib.Path,
        stdin: IO | None,
        stdout: int | IO,
        stderr: int | IO,
        new_session: bool,
    ):
        self.args, self.returncode = arguments, None
        self.stdout, out = _stream(stdout)
        self.stderr, err = _stream(stderr) if stderr != subprocess.STDOUT else (None, os.dup(out))
        asked = {"arguments": arguments, "env": env, "cwd": str(cwd), "new_session": new_session}
        with tempfile.TemporaryFile() as request, open(os.devnull) as nothing:
            request.write(json.dumps(asked).encode())
            request.seek(0)
            self.pid = _server().start([(stdin or nothing).fileno(), out, err, request.fileno()])
        os.close(out)
        os.close(err)

    def poll(self) -> int | None:
        """The exit status, -N after signal N, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it prints. Raises subprocess.TimeoutExpired."""
        read: dict[str, str] = {"out": "", "err": ""}

        def take(name: str, stream: IO[str]) -> None:
            with stream:
                read[name] = stream.read()

        pairs = [(name, stream) for name, stream in (("out", self.stdout), ("err", self.stderr)) if stream]
        threads = [threading.Thread(target=take, args=pair, daemon=True) for pair in pairs]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join(timeout)
        return read["out"], read["err"]

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            status = _server().status_of(self.pid, timeout)
            self.returncode = None if status is None else os.waitstatus_to_exitcode(status)
        return self.returncode


class _Server:
    """The client of the process that has imported everything; threads may share it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._statuses: dict[int, int] = {}
        self._started: list[int] = []
        self._starting, self._reading = threading.Lock(), threading.Lock()
        self.environment = dict(os.environ)
        # In pipes: Python checks at its start whether its streams can seek, and those of a test cannot.
        self._process = start_anew(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def start(self, descriptors: list[int]) -> int:
        with self._starting:
            socket.send_fds(self._socket, [b"s"], descriptors)
            while not self._started:
                self._read(None)
            return self._started.pop()

    def status_of(self, pid: int, timeout: float | None) -> int | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while pid not in self._statuses:
            rest = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._read(rest)
            if rest == 0.0:
                break
        return self._statuses.get(pid)

    def _read(self, timeout: float | None) -> None:
        """Takes one reply, if it comes soon; another thread may have taken the awaited one."""
        with self._reading:
            wait = 0.05 if timeout is None else min(timeout, 0.05)
            if not select.select([self._socket], [], [], wait)[0]:
                return
            reply = self._socket.recv(_REPLY.size, socket.MSG_WAITALL)
            if not reply:
                raise RuntimeError(
                    f"the server of tests/helpers/launcher.py ended: {self._process.communicate()[1]}"
                )
            pid, status = _REPLY.unpack(reply)
            if status == -1:
                self._started.append(pid)
                self._statuses.pop(pid, None)  # of an earlier process with this number
            else:
                self._statuses[pid] = status


_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers:
        _servers.append(_Server())
    return _servers[0]


def _imports_differently(env: Mapping[str, str]) -> bool:
    def read(environment: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in environment.items() if name.startswith(_READ_BY_IMPORTS)}

    return read(env) != read(_server().environment)


def _stream(asked: int | IO) -> tuple[IO[str] | None, int]:
    """The stream that this process reads, if any, and the descriptor that the other writes to."""
    if asked == subprocess.PIPE:
        ours, theirs = os.pipe()
        return open(ours), theirs
    if asked == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    return None, os.dup(asked if isinstance(asked, int) else asked.fileno())


def _serve(connection: socket.socket) -> list[int]:
    """Forks for each request and reports each end. Returns in the new process, with its descriptors."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for pytest
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            for pid, status in _ended():
                connection.sendall(_REPLY.pack(pid, status))
        if connection in ready:
            content, descriptors, _, _ = socket.recv_fds(connection, 1, 4)
            if not content:
                sys.exit()
            with warnings.catch_warnings(action="ignore"):  # of threads: those of BLAS, which are fork-safe
                pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for one in (connection, woken, wake):
                    one.close()
                return descriptors
            for one in descriptors:
                os.close(one)
            connection.sendall(_REPLY.pack(pid, -1))


def _ended() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _become(descriptors: list[int]) -> list[str]:
    """Applies streams, environment and signals of a request; returns its arguments."""
    *streams, request = descriptors
    with open(request) as asked:
        given = json.load(asked)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(given["env"])
    os.chdir(given["cwd"])
    if given["new_session"]:
        os.setsid()
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    for signum, handler in _SIGNALS.items():
        signal.signal(signum, handler)
    return given["arguments"]


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    for name in _IMPORTED:
        __import__(name)
    gc.freeze()  # the forks share them; their collectors would write to each
    sys.argv = _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    if sys.argv[0] == "-m":
        sys.path[0] = os.getcwd()
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(pathlib.Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
