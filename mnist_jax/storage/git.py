"""The git checkout that this program runs from. `python -m mnist_jax.storage.git` prints its remote.

The user's settings of git have no influence: options and the environment override them. Changes are found
with a temporary index, made from the commit, so no flag or time stamp in the checkout's index hides one.
Settings of the repository cannot start a program.
"""

import contextlib
import importlib.machinery
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

LARGEST = 1 << 20  # bytes; larger files are not read
_SECONDS = 30.0  # for one command of git
_SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.ignoreStat=false",
    "core.quotePath=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "diff.autoRefreshIndex=true",
    "diff.context=3",
    "diff.interHunkContext=0",
    "diff.suppressBlankEmpty=false",
    "protocol.allow=never",  # a partial clone fetches nothing
)
# As `git apply` reads it; -O: in git's own order.
_DIFF = (
    "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--relative", "--full-index",
    "--text", "--diff-algorithm=myers", "--indent-heuristic", "-O/dev/null",
    "--ita-visible-in-index", "--ignore-submodules=none", "--submodule=short",
    "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
_KEPT = {"GIT_EXEC_PATH", "GIT_DISCOVERY_ACROSS_FILESYSTEM"}
# Untracked files that count as code: all that Python can import, such as configs, and templates of pages.
_CODE = (*(f"*{suffix}" for suffix in importlib.machinery.all_suffixes()), "*.jinja")
_NO_CODE = (
    ":(exclude)*site-packages/*",
    ":(exclude)*__pycache__/*",
)  # of an environment inside the checkout


class GitError(Exception):
    """A command of git failed; the message is the reason."""


class Change(NamedTuple):
    """A file that differs from the commit.

    Attributes:
      name: relative to the program's folder.
      sides: the content in the commit and the current one, if they exist; None for one of more than LARGEST
        bytes, or of a file that is not regular.
    """

    name: str
    sides: Sequence[bytes | None]


class Checkout(NamedTuple):
    """The checkout of this program.

    Attributes:
      folder: of the program.
      settings: of git, for each command.
    """

    folder: pathlib.Path
    settings: Sequence[str]

    def commit(self) -> str:
        """The hash of the commit; raises GitError."""
        return (
            self.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", but="there is no commit")
            .decode()
            .strip()
        )

    def remote(self) -> str | None:
        """The address of `origin`, see `without_credentials`."""
        try:
            return without_credentials(
                self.git("remote", "get-url", "origin").decode(errors="replace").strip()
            )
        except GitError:
            return None

    @contextlib.contextmanager
    def fresh_index(self) -> Iterator[pathlib.Path]:
        """A temporary index of the commit and the names of untracked code; raises GitError."""
        with tempfile.TemporaryDirectory() as folder:
            index = pathlib.Path(folder) / "index"
            self.git("read-tree", "--no-sparse-checkout", "HEAD", index=index)
            listing = ("ls-files", "--others", "--exclude-per-directory=.gitignore", "-z", "--")
            if names := self.git(*listing, *_CODE, *_NO_CODE, index=index):
                adding = (
                    "add",
                    "--intent-to-add",
                    "--force",
                    "--pathspec-from-file=-",
                    "--pathspec-file-nul",
                )
                self.git("--literal-pathspecs", *adding, index=index, given=names)
            yield index

    def changes(self, index: pathlib.Path) -> list[Change]:
        """The files that differ from the commit; raises GitError."""
        fields = self.git(*_DIFF, "--raw", "-z", "HEAD", "--", ".", index=index).split(b"\0")[:-1]
        return [self._change(*pair) for pair in zip(fields[::2], fields[1::2], strict=True)]

    def patch(self, index: pathlib.Path, without: Sequence[str]) -> bytes:
        """The changes, as a patch for `git apply`, without those of some files; raises GitError."""
        left_out = [f":(exclude,literal){name}" for name in without]
        return self.git(*_DIFF, "HEAD", "--", ".", *left_out, index=index)

    def git(
        self, *arguments: str, index: pathlib.Path | None = None, given: bytes = b"", but: str | None = None
    ) -> bytes:
        """Runs a command of git.

        Args:
          arguments: of the command.
          index: the index file to use; None for the checkout's.
          given: the standard input.
          but: the reason of a failure without a message.

        Returns:
          the standard output.

        Raises:
          GitError: the command fails, or takes too long.
        """
        settings = [part for setting in (*_SETTINGS, *self.settings) for part in ("-c", setting)]
        command = ["git", "-C", str(self.folder), "--no-pager", *settings, *arguments]
        environment = _environment() | ({"GIT_INDEX_FILE": str(index)} if index else {})
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, timeout=_SECONDS, env=environment
            )
        except FileNotFoundError:
            raise GitError("git is not installed; install it") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {arguments[0]} takes more than {_SECONDS:.0f} s") from None
        except OSError as error:
            raise GitError(f"git cannot be started: {error.strerror}") from None
        if done.returncode != 0:
            raise GitError(_reason(done.stderr) or but or f"git {arguments[0]} fails")
        return done.stdout

    def _change(self, head: bytes, name: bytes) -> Change:
        mode, _, blob, *_ = head.decode().removeprefix(":").split()
        sides: list[bytes | None] = []
        if mode == "160000":  # a submodule: a hash
            return Change(os.fsdecode(name), sides)
        if set(blob) != {"0"}:
            size = int(self.git("cat-file", "-s", blob))
            sides.append(self.git("cat-file", "blob", blob) if size <= LARGEST else None)
        path = self.folder / os.fsdecode(name)
        if os.path.lexists(path):
            sides.append(_content(path))
        return Change(os.fsdecode(name), sides)


def find_checkout(folder: pathlib.Path) -> Checkout | None:
    """The checkout that tracks the program in `folder`; None if there is none, as for an installed package.

    Raises:
      GitError: git cannot read the checkout.
    """
    installed = folder.name in ("site-packages", "dist-packages")
    if installed or not any(os.path.lexists(parent / ".git") for parent in (folder, *folder.parents)):
        return None
    checkout = Checkout(folder, ())
    if not checkout.git("ls-files", "-z", "--", "mnist_jax/__init__.py"):
        return None  # the repository is another's, around it
    return Checkout(folder, _no_filters(checkout))


def without_credentials(address: str) -> str:
    """The address of a repository or server, without user name, password, query and fragment."""
    if "://" not in address:
        return re.sub(r"^[^/@:]*(:[^/@]*)?@(?=[^/]*:)", "", address)  # host:path, as scp has it, or a folder
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _no_filters(checkout: Checkout) -> list[str]:
    """Settings that switch off the filters of the repository; those of user and system stay."""
    listing = ("config", "--show-scope", "--name-only", "-z", "--list")
    fields = checkout.git(*listing).decode(errors="surrogateescape").split("\0")[:-1]
    own = {
        name for scope, name in zip(fields[::2], fields[1::2], strict=True) if scope in ("local", "worktree")
    }
    drivers = {found[1] for name in own if (found := re.fullmatch(r"(filter\.[^=\n]*)\.\w+", name))}
    off = ("clean=", "smudge=", "process=", "required=false")
    return [f"{driver}.{setting}" for driver in sorted(drivers) for setting in off]


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG") or name in _KEPT
    }
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _reason(printed: bytes) -> str:
    """The first line of git's message about a failure, with a remedy if one is known."""
    lines = [
        line
        for line in printed.decode(errors="replace").splitlines()
        if line.startswith(("fatal:", "error:"))
    ]
    line = "".join(c if c.isprintable() else "?" for c in lines[0]) if lines else ""
    if found := re.search(r"dubious ownership in repository at '(.*)'", line):
        return f"another user owns {found[1]}; run `git config --global --add safe.directory {found[1]}`"
    return line and f"git reports {line!r}"


def _content(path: pathlib.Path) -> bytes | None:
    with contextlib.suppress(OSError):
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            return os.fsencode(os.readlink(path))
        if stat.S_ISREG(state.st_mode) and state.st_size <= LARGEST:
            return path.read_bytes()
    return None


if __name__ == "__main__":
    try:
        found = find_checkout(pathlib.Path(__file__).resolve().parents[2])
        print(found.remote() or "" if found else "")
    except GitError as error:
        print(f"the address of the repository is unknown: {error}", file=sys.stderr)
