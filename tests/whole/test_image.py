"""The image, built and run: `make test-image`, where an engine can pull the base image.

$CONTAINER_ENGINE names the engine, docker or podman; without it these tests are skipped.
"""

import gzip
import hashlib
import json
import os
import secrets
import subprocess
import tarfile
import time

import pytest
from conftest import git

ENGINE = os.environ.get("CONTAINER_ENGINE")
IMAGE = "mnist_jax-test"
KEY = secrets.token_hex(20)  # 40 characters, as W&B's
DIGITS = ("--config=configs/digits.py", "--config.wandb.mode=offline")

pytestmark = pytest.mark.skipif(not ENGINE, reason="needs a container engine: make test-image")


def engine(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, **options)


def make_image(folder, image=IMAGE):
    """`make image` as a user would."""
    done = subprocess.run(
        ["make", "image", f"ENGINE={ENGINE}", f"IMAGE={image}", "ACCELERATOR=cpu"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(engine("image", "inspect", image).stdout)[0]


@pytest.fixture
def source(checkout):
    """The program's repository with a key in every place where one may lie."""
    for name in (".env", "scripts/.env", "configs/.env.local"):
        (checkout / name).write_text(f"WANDB_API_KEY={KEY}\n")
    git(checkout, "remote", "add", "origin", f"https://me:{KEY}@example.org/mnist_jax.git")
    return checkout


@pytest.fixture
def volumes():
    """Names of volumes for data and runs."""
    names = [f"mnist_jax-{kind}-{secrets.token_hex(4)}" for kind in ("data", "runs")]
    for name in names:
        engine("volume", "create", name, check=True)
    yield names
    for name in names:
        engine("volume", "rm", "--force", name)


def run_arguments(volumes, *arguments):
    """Of a container that may write to its volumes alone, with no rights and no network."""
    data, runs = volumes
    return (
        *("run", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=all"),
        *("--security-opt=no-new-privileges", f"--volume={data}:/data", f"--volume={runs}:/runs"),
        *arguments,
    )


def run_json(volumes, name):
    done = engine(*run_arguments(volumes, "--rm", IMAGE, "cat", f"/runs/{name}/run.json"), check=True)
    return json.loads(done.stdout)


def test_image_of_a_commit_and_of_a_changed_tree(source, volumes):
    commit = git(source, "rev-parse", "HEAD")
    described = make_image(source)
    assert described["Config"]["User"] == "10001:10001"
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == commit
    assert labels["org.opencontainers.image.source"] == "https://example.org/mnist_jax.git"
    assert engine("run", "--rm", IMAGE, "cat", "GIT_COMMIT").stdout == f"{commit}\n"

    done = engine(*run_arguments(volumes, "--rm", IMAGE, *DIGITS, "--workdir=/runs/clean"))
    assert done.returncode == 0, done.stderr
    record = run_json(volumes, "clean")
    assert (record["code"]["commit"], record["code"]["dirty"]) == (commit, False)
    assert record["metrics"]["test"]["accuracy"] > 0.95
    hashed = engine("run", "--rm", IMAGE, "sha256sum", "requirements.lock").stdout.split()[0]
    assert record["environment"]["lock_sha256"] == hashed
    search = ("grep", "--recursive", "--text", "--files-with-matches", commit, "/runs/clean/wandb")
    assert ".wandb" in engine(*run_arguments(volumes, "--rm", IMAGE, *search)).stdout

    (source / "main.py").write_text((source / "main.py").read_text() + "# changed\n")
    make_image(source, "mnist_jax-test-dirty")
    stamp = engine("run", "--rm", "mnist_jax-test-dirty", "cat", "GIT_COMMIT").stdout
    assert stamp == f"{commit}-dirty\n"


def test_no_layer_no_history_and_no_setting_holds_a_key(source, tmp_path):
    make_image(source)
    engine("save", "--output", tmp_path / "image.tar", IMAGE, check=True)
    program = (source / "main.py").read_bytes()
    found = members_with(tmp_path / "image.tar", [KEY.encode(), program])
    assert program in found  # what is in a layer is found
    assert KEY.encode() not in found
    assert KEY not in engine("history", "--no-trunc", IMAGE, check=True).stdout
    assert KEY not in engine("image", "inspect", IMAGE, check=True).stdout


def test_the_commands_of_the_program_are_on_the_path(source):
    make_image(source)
    done = engine("run", "--rm", IMAGE, "mnist-jax", "runs", "/runs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("0 runs\n")


def members_with(path, needles):
    """Which of the needles are in which members of a saved image: its layers, history and settings."""
    found = {}
    with tarfile.open(path) as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            packed = archive.extractfile(member).read(2) == b"\x1f\x8b"
            with archive.extractfile(member) as raw, gzip.open(raw) if packed else raw as stream:
                before = b""
                while block := stream.read(1 << 24):
                    for needle in needles:
                        if needle in before + block:
                            found.setdefault(needle, []).append(member.name)
                    before = block[-10_000:]
    return found


def test_a_stopped_container_saves_and_the_next_one_goes_on_to_the_same_bits(source, volumes):
    make_image(source)
    whole = engine(*run_arguments(volumes, "--rm", IMAGE, *DIGITS, "--workdir=/runs/whole"))
    assert whole.returncode == 0, whole.stderr

    flags = (*DIGITS, "--workdir=/runs/stopped")
    container = engine(*run_arguments(volumes, "--detach", IMAGE, *flags), check=True).stdout.strip()
    try:
        deadline = time.monotonic() + 120
        while "\n   3.0 " not in told(container) and time.monotonic() < deadline:
            time.sleep(0.1)
        engine("stop", container, check=True)
        status = engine("wait", container, check=True).stdout.strip()
        assert status == "143", told(container)
        assert "is saved: the same command resumes there" in told(container)
    finally:
        engine("rm", "--force", container)
    stopped = run_json(volumes, "stopped")
    assert stopped["status"] == "interrupted"
    assert 0 < stopped["steps"] < run_json(volumes, "whole")["steps"]

    resumed = engine(*run_arguments(volumes, "--rm", IMAGE, *flags))
    assert resumed.returncode == 0, resumed.stderr
    record = run_json(volumes, "stopped")
    assert record["resumes"] == 1
    assert record["params_sha256"] == run_json(volumes, "whole")["params_sha256"]


def told(container):
    logs = engine("logs", container)
    return logs.stdout + logs.stderr


def test_the_key_comes_from_a_mounted_file_or_an_env_file_and_any_user_may_run_it(source):
    make_image(source)
    expected = hashlib.sha256(KEY.encode()).hexdigest()
    show = ("sh", "-c", 'printf %s "$WANDB_API_KEY" | sha256sum')
    (source / ".env").chmod(0o600)
    by_file = engine("run", "--rm", "--env-file", source / ".env", IMAGE, *show, check=True)
    assert by_file.stdout.split()[0] == expected
    owner = f"--user={os.getuid()}:{os.getgid()}"
    mounted = engine("run", "--rm", owner, "--volume", f"{source / '.env'}:/app/.env:ro", IMAGE, *show)
    assert mounted.stdout.split()[0] == expected, mounted.stderr
    trained = engine(
        *("run", "--rm", "--network=none", "--user=12345:12345", IMAGE, *DIGITS),
        *("--workdir=/runs/other", "--config.train.epochs=7"),
    )
    assert trained.returncode == 0, trained.stderr
