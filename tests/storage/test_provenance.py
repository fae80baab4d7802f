import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, TINY

from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.storage import provenance
from mnist_jax.storage.git import Checkout, GitError
from mnist_jax.storage.record import RunRecord
from mnist_jax.storage.schema import RESULTS, SCHEMA
from mnist_jax.system import profiling
from mnist_jax.system.errors import Interrupted


@pytest.fixture
def record(tmp_path, tiny_config, monkeypatch):
    # Whatever is uncommitted here is not what these ask.
    monkeypatch.setattr(provenance, "unsafe_files", lambda changes, _: set())
    config = validate(tiny_config)
    record = RunRecord(tmp_path / "run.json", None)
    record.begin(config, provenance.describe_data(data.load(config.data)), step=0, parameters=12)
    return record


def read(tmp_path):
    return json.loads((tmp_path / "run.json").read_text())


def test_the_record_says_what_was_run_where(record, tmp_path, tiny_config):
    fields = read(tmp_path)
    assert fields["schema"] == SCHEMA
    assert fields["status"] == "running"
    assert fields["config"] == json.loads(json.dumps(tiny_config.to_dict()))
    assert fields["data"]["splits"]["train"]["examples"] == 1197
    assert sum(fields["data"]["splits"]["test"]["class_counts"]) == 300
    assert len(fields["data"]["fingerprint"]) == 64
    assert fields["environment"]["packages"]["jax"]
    assert fields["environment"]["accelerator"]["platform"] == "cpu"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Interrupted(15, "saved"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (OSError("disk full"), "failed"),
    ],
)
def test_the_record_says_how_it_ended(record, tmp_path, error, status):
    record.end(error)
    assert read(tmp_path)["status"] == status
    assert read(tmp_path)["exit_reason"]
    assert read(tmp_path)["ended"]


def test_results_are_null_until_they_are_known(record, tmp_path):
    fields = read(tmp_path)
    assert [fields[key] for key in RESULTS] == [None] * len(RESULTS)


def test_a_run_that_cannot_begin_leaves_the_record_of_the_run_before(record, tmp_path):
    record.end()
    before = read(tmp_path)
    again = RunRecord(tmp_path / "run.json", before)
    again.end(OSError("no data"))
    assert read(tmp_path) == before
    assert before["status"] == "finished"


def test_each_process_is_recorded_and_a_change_is_told(record, tmp_path, tiny_config, monkeypatch):
    config = validate(tiny_config)
    first = read(tmp_path)
    again = RunRecord(tmp_path / "run.json", first)
    assert again.begin(config, provenance.describe_data(data.load(config.data)), step=40, parameters=12) == []
    code = {"commit": "other", "dirty": False, "patch_sha256": None}
    monkeypatch.setattr(provenance, "describe_code", lambda _: code)
    third = RunRecord(tmp_path / "run.json", read(tmp_path))
    (warning,) = third.begin(config, provenance.describe_data(data.load(config.data)), step=60, parameters=12)
    assert "code changed since the previous process" in warning
    fields = read(tmp_path)
    assert [process["from_step"] for process in fields["processes"]] == [0, 40, 60]
    assert fields["processes"][0]["code"] == first["code"]
    assert fields["code"]["commit"] == "other"
    assert fields["resumes"] == 2
    assert fields["started"] == first["started"]


def test_nothing_is_written_for_a_run_that_never_began(tmp_path):
    record = RunRecord(tmp_path / "run.json", None)
    record.end(OSError("no data"))
    assert list(tmp_path.iterdir()) == []


def test_json_has_no_numbers_that_are_not_finite(record, tmp_path):
    test = {"a": float("nan"), "b": np.array([1.0, np.inf]), "c": np.float32(0.5)}
    record.update(metrics={"test": test, "validation": {}})
    assert read(tmp_path)["metrics"]["test"] == {"a": None, "b": [1.0, None], "c": 0.5}


@pytest.fixture
def checkout(program_checkout, monkeypatch):
    """See `program_checkout`; it is taken for this program's."""
    monkeypatch.setattr(provenance, "ROOT", program_checkout[0])
    return program_checkout


def test_the_code_of_a_checkout(checkout):
    folder, git = checkout
    code = provenance.describe_code()
    assert (code["commit"], code["dirty"], code["patch_sha256"]) == (git("rev-parse", "HEAD"), False, None)
    assert "unknown" not in code
    git("remote", "add", "origin", "https://me:" + "secret@example.org/repo.git")
    assert provenance.describe_code()["remote"] == "https://example.org/repo.git"
    (folder / "mnist_jax" / "__init__.py").write_text("b\n")
    changed = provenance.describe_code()
    (folder / "mnist_jax" / "__init__.py").write_text("c\n")
    assert changed["dirty"] is True
    again = provenance.describe_code(folder)
    assert changed["patch_sha256"] != again["patch_sha256"]
    (kept,) = folder.glob("code-*.patch")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == again["patch_sha256"]
    assert kept.name == f"code-{again['patch_sha256'][:12]}.patch"


def begun(workdir, tiny_config):
    """What is said when a run begins, and `code` of its run.json."""
    workdir.mkdir()
    config = validate(tiny_config)
    record = RunRecord(workdir / "run.json", None)
    told = record.begin(config, provenance.describe_data(data.load(config.data)), step=0, parameters=1)
    return told, json.loads((workdir / "run.json").read_text())["code"]


def test_files_with_keys_stay_out_of_the_patch_and_are_told(checkout, tiny_config, monkeypatch):
    folder, _ = checkout
    monkeypatch.setenv("WANDB_API_KEY", "zebra-umbrella")
    (folder / "new.py").write_text("a = 1\nlogin('zebra-umbrella')\n")
    (folder / 'caf\u00e9 "1".py').write_text("login('zebra-umbrella')\n")
    (folder / "other.py").write_text("b = 2\n")
    workdir = folder / "run"
    told, code = begun(workdir, tiny_config)
    assert told == [
        'the run\'s patch lacks uncommitted changes of caf\u00e9 "1".py, new.py: these files may contain '
        "keys, are not text, or exceed 1 MB"
    ]
    assert code["keys_left_out"] == ['caf\u00e9 "1".py', "new.py"]
    (patch,) = workdir.glob("code-*.patch")
    assert b"+b = 2\n" in patch.read_bytes()
    assert b"new.py" not in patch.read_bytes()
    assert not [path for path in workdir.iterdir() if b"zebra" in path.read_bytes()]


@pytest.mark.parametrize(
    ("broken", "expected", "unknown"),
    [
        (
            "commit",
            None,
            "the commit of this code is not known: git is not installed; install it, or give "
            "--git_commit=HASH",
        ),
        ("fresh_index", None, "whether this code has uncommitted changes is not known: no fresh_index"),
        ("changes", None, "whether this code has uncommitted changes is not known: no changes"),
        ("patch", True, "the patch of the uncommitted changes is not known: no patch"),
    ],
)
def test_what_git_cannot_say_is_null_and_told(checkout, tiny_config, monkeypatch, broken, expected, unknown):
    folder, _ = checkout
    (folder / "new.py").write_text("a = 1\n")

    def fail(*_):
        raise GitError(f"no {broken}")

    if broken == "commit":
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        monkeypatch.setattr(Checkout, broken, fail)
    told, code = begun(folder / "run", tiny_config)
    assert (code["dirty"], code["patch_sha256"]) == (expected, None)
    assert (code["commit"] is None) == (broken == "commit")
    assert (told, code["unknown"]) == ([unknown], unknown)


def test_a_file_that_changes_while_it_is_read_is_in_no_patch(checkout, monkeypatch):
    """A key may have come into it after the search."""
    folder, _ = checkout
    (folder / "new.py").write_text("a = 1\n")

    def search(changes, _):
        (folder / "new.py").write_text("a = 2\n")
        return set()

    monkeypatch.setattr(provenance, "unsafe_files", search)
    code = provenance.describe_code(folder)
    assert (code["dirty"], code["patch_sha256"]) == (True, None)
    assert code["unknown"].endswith("is not known: files were changed while they were read")
    assert not list(folder.glob("*.patch"))


def test_a_commit_that_is_given_needs_no_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("GIT_COMMIT", "abc123-dirty")
    code = provenance.describe_code()
    assert (code["commit"], code["dirty"], code.get("unknown")) == ("abc123", True, None)


@pytest.mark.parametrize(("stamp", "dirty"), [("abc123\n", False), ("abc123-dirty", True)])
def test_without_git_the_commit_is_the_one_stamped_on_it(tmp_path, monkeypatch, stamp, dirty):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "GIT_COMMIT").write_text(stamp)
    code = provenance.describe_code()
    assert (code["commit"], code["dirty"]) == ("abc123", dirty)
    monkeypatch.setenv("GIT_COMMIT", "def456")
    assert provenance.describe_code()["commit"] == "def456"


@pytest.mark.whole
def test_a_program_without_git_is_told_its_commit(tmp_path):
    program = tmp_path / "program"
    for name in ("mnist_jax", "configs"):
        shutil.copytree(ROOT / name, program / name)
    shutil.copy(ROOT / "main.py", program)
    done = subprocess.run(
        [sys.executable, "main.py", *TINY, "--workdir=run", "--git_commit=abc123-dirty"],
        cwd=program,
        env={**os.environ, "GIT_COMMIT": "def456"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    code = json.loads((program / "run" / "run.json").read_text())["code"]
    assert (code["commit"], code["dirty"], code["patch_sha256"]) == ("abc123", True, None)


def test_the_hash_of_parameters_is_of_names_shapes_and_every_bit():
    params = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.zeros(2)]}
    flipped = np.arange(6, dtype=np.float32).reshape(2, 3)
    flipped.view(np.uint32)[1, 2] ^= 1
    variants = [
        params,
        {**params, "a": flipped},
        {**params, "a": params["a"].reshape(3, 2)},
        {"c": params["a"], "b": params["b"]},
        {**params, "b": [jnp.full(2, -0.0)]},
    ]
    assert len({provenance.params_hash(tree) for tree in variants}) == len(variants)
    assert provenance.params_hash(dict(reversed(params.items()))) == provenance.params_hash(params)
    assert provenance.count_params(params) == 8


def test_the_process_is_older_than_this_test():
    before = profiling.process_seconds()
    time.sleep(0.1)
    assert 0.08 <= profiling.process_seconds() - before <= 5
    assert before > 0.1
