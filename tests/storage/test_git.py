import os
import subprocess
import sys

import pytest
from conftest import ROOT

from mnist_jax.storage import git as repository
from mnist_jax.storage.git import GitError, find_checkout, without_credentials

PROGRAM = "mnist_jax/__init__.py"
LOGIN = "me:pw"


def changed(folder) -> list[str]:
    checkout = find_checkout(folder)
    with checkout.fresh_index() as index:
        return sorted(change.name for change in checkout.changes(index))


def patch_of(folder, without=()) -> bytes:
    checkout = find_checkout(folder)
    with checkout.fresh_index() as index:
        return checkout.patch(index, without)


def test_the_patch_makes_the_changed_tree_from_the_commit(program_checkout):
    folder, git = program_checkout
    (folder / PROGRAM).write_bytes(b"caf\xe9\r\n")
    (folder / "new.py").write_text("new\n")
    (folder / 'a "quoted"\tname.py').write_text("new\n")
    before = git("status", "--porcelain")
    patch = patch_of(folder)
    assert git("status", "--porcelain") == before  # the user's index is as it was
    git("checkout", "mnist_jax")
    for name in ("new.py", 'a "quoted"\tname.py'):
        (folder / name).unlink()
    subprocess.run(["git", "-C", folder, "apply"], input=patch, check=True)
    assert (folder / PROGRAM).read_bytes() == b"caf\xe9\r\n"
    assert (folder / "new.py").read_text() == (folder / 'a "quoted"\tname.py').read_text() == "new\n"


def test_files_can_stay_out_of_the_patch(program_checkout):
    folder, _ = program_checkout
    (folder / PROGRAM).write_text("b\n")
    for name in ("new.py", "*.py", 'a "quoted" name.py'):
        (folder / name).write_text("new\n")
    patch = patch_of(folder, [PROGRAM, "*.py", 'a "quoted" name.py'])
    assert patch.count(b"diff --git") == 1
    assert b"+++ b/new.py" in patch


def test_the_sides_of_a_change_are_whole_files(program_checkout, tmp_path):
    folder, git = program_checkout
    for name, content in {"old.py": "old\n", "link": "x\n", "pipe.py": "x\n"}.items():
        (folder / name).write_text(content)
    git("add", ".")
    git("commit", "-qm", "second")
    (folder / PROGRAM).write_text("b\n")
    (folder / "new.py").write_text("x" * (repository.LARGEST + 1))
    for name in ("old.py", "link", "pipe.py"):
        (folder / name).unlink()
    (folder / "link").symlink_to("/elsewhere")
    os.mkfifo(folder / "pipe.py")
    checkout = find_checkout(folder)
    with checkout.fresh_index() as index:
        sides = {change.name: change.sides for change in checkout.changes(index)}
    assert sides == {
        PROGRAM: [b"a\n", b"b\n"],
        "old.py": [b"old\n"],
        "link": [b"x\n", b"/elsewhere"],
        "pipe.py": [b"x\n", None],
        "new.py": [None],
    }


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("new.py", True),
        ("configs/mine.py", True),
        ("native.so", True),
        ("page.jinja", True),
        ("data.csv", False),
        ("notes.txt", False),
        ("runs/x/config.py", False),
        (".env", False),
        ("mnist_jax/__pycache__/x.pyc", False),
        ("env/lib/python3.11/site-packages/x.py", False),
    ],
)
def test_of_files_that_git_does_not_track_those_count_that_can_change_the_program(
    program_checkout, name, counts
):
    folder, git = program_checkout
    (folder / ".gitignore").write_text("/runs\n")
    git("add", ".gitignore")
    git("commit", "-qm", "second")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("a = 1\n")
    assert changed(folder) == ([name] if counts else [])


def test_every_change_of_a_tracked_file_counts(program_checkout):
    folder, git = program_checkout
    (folder / "README.md").write_text("a\n")
    git("add", ".")
    git("commit", "-qm", "second")
    (folder / "README.md").write_text("b\n")
    assert changed(folder) == ["README.md"]
    (folder / "README.md").unlink()
    assert changed(folder) == ["README.md"]


SETTINGS = {
    "status.showUntrackedFiles": "no",
    "core.excludesFile": "EXCLUDES",
    "core.quotePath": "true",
    "core.ignoreStat": "true",
    "core.untrackedCache": "true",
    "core.splitIndex": "true",
    "core.abbrev": "5",
    "color.ui": "always",
    "color.diff": "always",
    "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true",
    "diff.renames": "copies",
    "diff.context": "0",
    "diff.interHunkContext": "9",
    "diff.algorithm": "patience",
    "diff.indentHeuristic": "false",
    "diff.relative": "true",
    "diff.orderFile": "ORDER",
    "diff.ignoreSubmodules": "all",
    "diff.autoRefreshIndex": "false",
    "diff.suppressBlankEmpty": "true",
    "diff.external": "PROGRAM",
    "core.pager": "PROGRAM",
    "core.fsmonitor": "PROGRAM",
    "core.hooksPath": "HOOKS",
    "diff.x.command": "PROGRAM",
    "diff.x.textconv": "PROGRAM",
}


def hostile(folder, tmp_path):
    """Files that settings name, and a program that leaves a trace when git starts it."""
    program, hooks = tmp_path / "program", tmp_path / "hooks"
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\ncat "$@"\n')
    program.chmod(0o755)
    hooks.mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman"):
        (hooks / hook).symlink_to(program)
    (tmp_path / "excludes").write_text("*\n")
    (tmp_path / "order").write_text("*.py\n*\n")
    (folder / ".git" / "info" / "attributes").write_text("* diff=x filter=x\n")
    return {
        "PROGRAM": str(program),
        "HOOKS": str(hooks),
        "EXCLUDES": str(tmp_path / "excludes"),
        "ORDER": str(tmp_path / "order"),
    }


def settled_changes(folder):
    for name, content in {PROGRAM: "1\n\n2\n", "new.py": "a\n", "same.py": "a\n"}.items():
        (folder / name).write_text(content)
    (folder / "moved.py").write_text("".join(f"{i}\n" for i in range(99)))
    return changed(folder), patch_of(folder)


def test_no_setting_of_git_decides_and_none_of_the_repository_starts_a_program(
    program_checkout, tmp_path, monkeypatch
):
    folder, git = program_checkout
    expected = settled_changes(folder)
    places = hostile(folder, tmp_path)
    for name, value in SETTINGS.items():
        git("config", "--local", name, places.get(value, value))
    for name in ("clean", "smudge", "process"):
        git("config", "--local", f"filter.x.{name}", places["PROGRAM"])
    git("config", "--local", "filter.x.required", "true")
    (tmp_path / "started").unlink(missing_ok=True)
    for name, value in {
        "GIT_DIR": "/nowhere",
        "GIT_WORK_TREE": "/nowhere",
        "GIT_INDEX_FILE": "/nowhere",
        "GIT_EXTERNAL_DIFF": places["PROGRAM"],
        "GIT_DIFF_OPTS": "--unified=0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ICASE_PATHSPECS": "1",
        "LC_ALL": "C",
    }.items():
        monkeypatch.setenv(name, value)
    assert (changed(folder), patch_of(folder)) == expected
    assert not (tmp_path / "started").exists()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", "-C", folder, "diff"], capture_output=True, env=environment)
    assert (tmp_path / "started").exists()  # as by git alone


def test_the_users_own_filters_stay(program_checkout, tmp_path):
    """Such as those of git-lfs: a file that they change on its way is no change."""
    folder, git = program_checkout
    git("config", "--global", "filter.up.clean", "tr A-Z a-z")
    (folder / ".gitattributes").write_text("*.up filter=up\n")
    (folder / "a.up").write_text("LARGE\n")
    git("add", ".")
    git("commit", "-qm", "second")
    assert git("show", "HEAD:a.up") == "large"
    assert changed(folder) == []


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_no_flag_of_the_index_hides_a_change(program_checkout, flag):
    folder, git = program_checkout
    git("update-index", flag, PROGRAM)
    (folder / PROGRAM).write_text("b\n")
    assert git("status", "--porcelain") == ""
    assert changed(folder) == [PROGRAM]


def test_a_change_of_the_same_size_and_time_is_one(program_checkout):
    folder, git = program_checkout
    git("config", "core.trustctime", "false")
    git("config", "core.checkStat", "minimal")
    file = folder / PROGRAM
    os.utime(file, (1, 1))
    git("update-index", "--refresh")
    file.write_text("b\n")
    os.utime(file, (1, 1))
    assert git("status", "--porcelain") == ""
    assert changed(folder) == [PROGRAM]


def test_a_program_below_the_top_of_a_repository(program_checkout):
    folder, git = program_checkout
    (folder / "inner" / "mnist_jax").mkdir(parents=True)
    (folder / "inner" / PROGRAM).write_text("a\n")
    git("add", ".")
    git("commit", "-qm", "second")
    (folder / PROGRAM).write_text("not of this program\n")
    assert changed(folder / "inner") == []
    (folder / "inner" / PROGRAM).write_text("b\n")
    assert changed(folder / "inner") == [PROGRAM]
    assert f"+++ b/{PROGRAM}\n".encode() in patch_of(folder / "inner")


def test_the_repository_around_an_installed_program_is_not_its_own(program_checkout, tmp_path):
    folder, _ = program_checkout
    for name in ("site-packages", "copied"):
        (folder / name).mkdir()
        assert find_checkout(folder / name) is None
    assert find_checkout(tmp_path) is None


def test_a_checkout_of_another_user_is_told_with_the_remedy(program_checkout, monkeypatch):
    folder, git = program_checkout
    monkeypatch.setattr(repository, "_KEPT", {"GIT_TEST_ASSUME_DIFFERENT_OWNER"})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(GitError) as raised:
        find_checkout(folder)
    remedy = f"git config --global --add safe.directory {folder}"
    assert str(raised.value) == f"another user owns {folder}; run `{remedy}`"
    subprocess.run(remedy, shell=True, check=True)
    assert find_checkout(folder).commit() == git("rev-parse", "HEAD")


def test_why_git_fails_is_one_line(program_checkout, tmp_path, monkeypatch):
    folder, _ = program_checkout
    monkeypatch.setattr(repository, "_SECONDS", 0.0)
    with pytest.raises(GitError, match="^git ls-files takes more than 0 s$"):
        find_checkout(folder)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GitError, match="^git is not installed; install it$"):
        find_checkout(folder)
    monkeypatch.undo()
    (folder / ".git" / "HEAD").write_text("nothing\n")
    with pytest.raises(GitError, match="^git reports 'fatal: not a git repository"):
        find_checkout(folder)


def test_a_repository_without_a_commit(program_checkout):
    folder, git = program_checkout
    git("update-ref", "-d", "HEAD")
    with pytest.raises(GitError, match="^there is no commit$"):
        find_checkout(folder).commit()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"https://{LOGIN}@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://token@example.org:8443/a/b.git", "https://example.org:8443/a/b.git"),
        ("https://example.org/a/b.git?private_token=x#y", "https://example.org/a/b.git"),
        (f"https://{LOGIN}@ss@example.org/a", "https://example.org/a"),
        (f"git+ssh://{LOGIN}@example.org/a", "git+ssh://example.org/a"),
        (f"persistent-https://{LOGIN}@example.org/a", "persistent-https://example.org/a"),
        ("ssh://git@example.org:22/a", "ssh://example.org:22/a"),
        ("git@example.org:a/b.git", "example.org:a/b.git"),
        (f"{LOGIN}@example.org:a/b.git", "example.org:a/b.git"),
        ("example.org:a/b.git", "example.org:a/b.git"),
        (f"https://{LOGIN}@[bad/a", "https://"),
        ("/srv/git/a@b:c", "/srv/git/a@b:c"),
        ("../a@b", "../a@b"),
        ("file:///srv/git/a", "file:///srv/git/a"),
    ],
)
def test_an_address_is_kept_without_credentials(address, expected):
    assert without_credentials(address) == expected


def test_the_module_prints_the_remote_and_needs_no_package(program_checkout):
    folder, git = program_checkout
    (folder / "mnist_jax" / "storage").mkdir()
    for name in ("__init__.py", "storage/__init__.py", "storage/git.py"):
        (folder / "mnist_jax" / name).write_text((ROOT / "mnist_jax" / name).read_text())
    git("remote", "add", "origin", "https://me:" + "secret@example.org/repo.git?token=x")
    command = [sys.executable, "-S", "-m", "mnist_jax.storage.git"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("https://example.org/repo.git\n", "")
