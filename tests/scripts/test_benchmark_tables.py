import importlib
import sys

import pytest
from benchmark import pages, results, tables
from conftest import run_script

from mnist_jax.storage import git


@pytest.mark.whole
@pytest.mark.long
def test_the_suite_writes_the_file_that_the_tables_are_made_from(tmp_path):
    path = tmp_path / "found.json"
    suite = run_script("benchmark", "suite", "--small", f"--save={path}", "--command=echo 94.01")
    assert suite.returncode == 0, suite.stderr
    assert [line.split()[0] for line in suite.stdout.splitlines()] == ["done"] * 7, (
        suite.stdout + suite.stderr
    )
    entries = results.read(path)
    assert len(entries) == 7
    for found in entries:
        assert found["command"].startswith("python scripts/benchmark ")
        assert "--save" not in found["command"]
        assert found["machine"]["versions"]["jax"]
        assert isinstance(found["noisy"], bool)
    page = run_script("benchmark", "tables", f"--save={path}").stdout
    assert page == pages.markdown(entries)
    assert "| mnist_jax | " in page
    assert "| last line of its output | 94.01 |  |" in page


@pytest.mark.whole
def test_a_suite_out_of_time_keeps_what_it_has(tmp_path):
    done = run_script("benchmark", "suite", "--minutes=0", f"--save={tmp_path / 'found.json'}")
    assert done.returncode == 0
    assert all(line.startswith("left out for lack of time") for line in done.stdout.splitlines())


def test_an_entry_has_the_command_without_what_does_not_change_the_result(monkeypatch):
    program = importlib.import_module("benchmark.__main__")
    given = ["--json", "input", "--config.data.manual_dir=/data", "--config.seed=1", "--save=a.json"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *given])
    assert program.command("input") == "python scripts/benchmark input --config.seed=1"


def test_an_entry_has_the_commit_and_whether_the_code_differs_from_it(program_checkout, monkeypatch):
    folder, run_git = program_checkout
    monkeypatch.setattr(tables, "ROOT", folder)
    short = run_git("rev-parse", "HEAD")[:7]
    assert tables.commit() == short
    (folder / "docs").mkdir()
    (folder / "docs" / "benchmarks.json").write_text("[]")
    run_git("add", "--all")
    assert tables.commit() == short  # a result that was saved before changes no code
    (folder / "mnist_jax" / "__init__.py").write_text("b\n")
    assert tables.commit() == f"{short}-dirty"


def test_a_commit_that_git_cannot_read_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.commit() is None
    monkeypatch.setenv("GIT_COMMIT", "0123456-dirty")
    assert tables.commit() == "0123456-dirty"

    def unreadable(folder):
        raise git.GitError("git is not installed; install it")

    monkeypatch.setattr(tables, "find_checkout", unreadable)
    assert tables.commit() is None


def test_an_entry_names_the_instructions_that_decide_which_program_is_fastest(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("model name : AMD EPYC\nflags\t\t: fma avx2 avx512f avx512_bf16\n")
    assert tables.instructions(file) == " (AVX2, AVX-512, AVX512_BF16)"
    file.write_text("flags : neon\n")
    assert tables.instructions(file) == ""
    assert tables.instructions(tmp_path / "none") == ""
