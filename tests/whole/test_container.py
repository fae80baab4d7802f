"""The content of an image and the start of a container; test_image.py needs an engine."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import docker.utils
import dotenv
import launcher
import pytest
from conftest import ROOT, TINY, git
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whole_runs import wait_for_step

pytestmark = pytest.mark.whole

KEY = "k3y" * 13


@pytest.fixture
def app(tmp_path):
    """A folder like /app of the image, with the scripts and a main.py that prints what it was given."""
    folder = tmp_path / "app"
    for name in ("docker_entrypoint.sh", "git_commit.sh"):
        (folder / "scripts").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "scripts" / name, folder / "scripts")
    (folder / "main.py").write_text("import sys; print(sys.argv)")
    (folder / "mnist_jax").symlink_to(ROOT / "mnist_jax")
    return folder


def write_dotenv(app: pathlib.Path, content: str | bytes, mode: int = 0o600) -> None:
    (app / ".env").write_bytes(content if isinstance(content, bytes) else content.encode())
    (app / ".env").chmod(mode)


def enter(app: pathlib.Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs the entrypoint with nothing of this process's environment but the way to Python."""
    path = f"{pathlib.Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        [app / "scripts" / "docker_entrypoint.sh", *command],
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def environment_of(app: pathlib.Path, **environment: str) -> dict[str, str]:
    done = enter(app, "env", "-0", **environment)
    assert done.returncode == 0, done.stderr
    return dict(entry.split("=", 1) for entry in done.stdout.rstrip("\0").split("\0"))


# What the image is made from


def context(folder: pathlib.Path) -> set[str]:
    """The files that an engine takes into a build."""
    lines = [line.strip() for line in (folder / ".dockerignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    paths = docker.utils.exclude_paths(folder, patterns)
    return {path for path in paths if (folder / path).is_file()}


def all_files(folder: pathlib.Path) -> set[str]:
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {str(path.relative_to(folder)) for path in paths}


PRIVATE = (".env", ".env.local", "configs/.env", "scripts/.env", "mnist_jax/.env.production")
LEFT_OUT = (
    *PRIVATE,
    "runs/digits/run.json",
    "data/mnist/train-images-idx3-ubyte.gz",
    ".venv/bin/python",
    "venv/bin/python",
    "wandb/run.log",
    "mnist_jax/__pycache__/train.pyc",
    "scripts/x.egg-info/PKG-INFO",
)


def test_neither_git_nor_a_build_takes_keys_runs_data_or_environments(checkout):
    git(checkout, "remote", "add", "origin", f"https://me:{KEY}@example.org/mnist_jax.git")
    for name in LEFT_OUT:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(KEY)
    assert git(checkout, "status", "--porcelain") == ""
    assert not context(checkout) & {*LEFT_OUT}
    assert not any(KEY in (checkout / name).read_text(errors="replace") for name in context(checkout))


def test_a_build_sees_all_that_git_tracks_and_the_history(checkout):
    """Otherwise the commit would be dirty or unknown."""
    seen = context(checkout)
    assert set(git(checkout, "ls-files").splitlines()) <= seen
    (checkout / "runs").symlink_to("/scratch")
    for name in sorted(set(all_files(checkout)) - seen):
        (checkout / name).unlink()
    assert commit_of(checkout).stdout == f"{git(checkout, 'rev-parse', 'HEAD')}\n"


def test_the_example_of_dotenv_has_no_value_and_names_that_are_taken():
    assert set(dotenv.dotenv_values(ROOT / ".env.example").values()) == {""}
    names = re.findall(r"^#? ?(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    assert "WANDB_API_KEY" in names
    assert all(name.startswith("WANDB_") for name in names)


def test_every_lock_has_the_same_versions_and_no_address():
    pins = {
        name: dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))
        for name in ("requirements.lock", "requirements-cuda.lock", "requirements-test.lock")
    }
    base = pins["requirements.lock"].items()
    assert all(base <= others.items() for others in pins.values())
    assert "jax-cuda13-plugin" in pins["requirements-cuda.lock"]
    assert not any("://" in (ROOT / name).read_text() for name in pins)


# The commit


def commit_of(folder: pathlib.Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["scripts/git_commit.sh"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )


def test_the_commit_of_a_clean_and_of_a_changed_tree(checkout, tmp_path):
    commit = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout).stdout == f"{commit}\n"
    assert commit_of(checkout, GIT_COMMIT=commit).stdout == f"{commit}\n"
    (checkout / "main.py").chmod(0o700)
    (checkout / ".DS_Store").touch()
    (tmp_path / "ignored").write_text(".DS_Store\n")
    git(checkout, "config", "core.excludesFile", str(tmp_path / "ignored"))
    assert commit_of(checkout).stdout == f"{commit}\n"
    (tmp_path / "ignored").write_text("*\n")
    git(checkout, "config", "status.showUntrackedFiles", "no")
    (checkout / "new.py").touch()
    assert commit_of(checkout).stdout == f"{commit}-dirty\n"
    (checkout / "new.py").unlink()
    git(checkout, "update-index", "--assume-unchanged", "main.py")
    (checkout / "main.py").write_text("changed")
    assert commit_of(checkout, GIT_DIR="/nowhere").stdout == f"{commit}-dirty\n"


def test_a_checkout_of_another_user_is_told(checkout):
    done = commit_of(checkout, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "dubious ownership" in done.stderr
    assert "set GIT_COMMIT to the commit" in done.stderr
    commit = git(checkout, "rev-parse", "HEAD")
    given = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": str(checkout),
    }
    assert commit_of(checkout, GIT_TEST_ASSUME_DIFFERENT_OWNER="1", **given).stdout == f"{commit}\n"


def test_the_label_of_the_source_has_no_credentials(checkout):
    git(checkout, "remote", "add", "origin", f"git+ssh://me:{KEY}@example.org/mnist_jax.git?token={KEY}")
    line = re.search(r'SOURCE="\$\$\((.*)\)"', (checkout / "Makefile").read_text())[1]
    done = subprocess.run(
        line.replace("$(PYTHON)", sys.executable), shell=True, cwd=checkout, capture_output=True
    )
    assert done.stdout == b"git+ssh://example.org/mnist_jax.git\n"


def test_a_commit_that_is_not_the_checkouts_is_refused(checkout):
    done = commit_of(checkout, GIT_COMMIT="abc123")
    assert done.returncode == 1
    assert "GIT_COMMIT must be the commit of the checkout" in done.stderr


def test_where_there_is_no_git_the_commit_has_to_be_given(app):
    assert commit_of(app, GIT_COMMIT="abc123-dirty").stdout == "abc123-dirty\n"
    done = commit_of(app)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git_commit.sh: there is no .git here; set GIT_COMMIT to the commit\n"


def test_a_worktree_whose_repository_is_not_there_has_to_be_told_its_commit(app):
    (app / ".git").write_text("gitdir: /elsewhere/.git/worktrees/app\n")
    assert "set GIT_COMMIT to the commit" in commit_of(app).stderr
    assert commit_of(app, GIT_COMMIT="abc123").stdout == "abc123\n"


# The settings of W&B

_plain = st.text(st.characters(codec="ascii", exclude_characters="\r\n\\\0"))
_values = st.one_of(
    _plain.filter(lambda text: text.lstrip()[:1] not in ("'", '"')),
    _plain.map(lambda text: "'" + text.replace("'", "") + "'"),
    _plain.map(lambda text: '"' + text.replace('"', "") + '" # comment'),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(_values, min_size=1), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "export ", "  "]))
def test_dotenv_is_read_as_by_the_library(app, values, ending, prefix):
    values = [re.sub(r"[\x0b\x0c\x1c-\x1f]", "", value) for value in values]  # line ends to the library alone
    content = ending.join(f"{prefix}WANDB_{number} = {value}" for number, value in enumerate(values))
    write_dotenv(app, content)
    expected = dotenv.dotenv_values(app / ".env", interpolate=False)
    found = {name: text for name, text in environment_of(app).items() if name.startswith("WANDB_")}
    assert found == {name: text for name, text in expected.items() if text}


def test_nothing_in_dotenv_is_evaluated_and_only_settings_of_wandb_are_taken(app):
    write_dotenv(
        app,
        f"WANDB_API_KEY={KEY}\nWANDB_NAME=$(touch made) `touch made` $HOME ${{HOME}}; touch made\n"
        "PATH=/nowhere\nLD_PRELOAD=x.so\nBASH_ENV=made\nWANDB_A[$(touch made)]=x\n",
    )
    found = environment_of(app, HOME="/home")
    assert found["WANDB_API_KEY"] == KEY
    assert found["WANDB_NAME"] == "$(touch made) `touch made` $HOME ${HOME}; touch made"
    assert not {"LD_PRELOAD", "BASH_ENV"} & {*found}
    assert found["PATH"] != "/nowhere"
    assert not (app / "made").exists()


def test_the_environment_overrules_dotenv_where_it_says_something(app):
    write_dotenv(app, "WANDB_API_KEY=file\nWANDB_ENTITY=file\n")
    found = environment_of(app, WANDB_API_KEY="given", WANDB_ENTITY="")
    assert (found["WANDB_API_KEY"], found["WANDB_ENTITY"]) == ("given", "file")


@pytest.mark.parametrize("given", [f'"{KEY}"', f"'{KEY}'", f"{KEY}  # mine", f" {KEY} ", f" '{KEY}' # x"])
def test_quotes_and_comments_that_an_env_file_of_docker_keeps_are_no_part_of_the_key(app, given):
    found = environment_of(app, WANDB_API_KEY=given, WANDB_NOTES='"as given" # too')
    assert (found["WANDB_API_KEY"], found["WANDB_NOTES"]) == (KEY, '"as given" # too')


def test_a_dotenv_that_others_may_read_is_left_out_with_a_warning(app):
    write_dotenv(app, f"WANDB_API_KEY={KEY}\n", mode=0o644)
    done = enter(app, "env")
    assert done.returncode == 0
    assert ".env is ignored: every user of the host can read it; chmod 600 .env" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert "PYTHON_DOTENV_DISABLED=1" in done.stdout  # main.py would read the file itself


def test_a_folder_in_the_place_of_dotenv_is_told(app):
    (app / ".env").mkdir()
    done = enter(app, "true")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "it is a folder" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_dotenv_that_cannot_be_read_is_told(app):
    write_dotenv(app, f"WANDB_API_KEY={KEY}\n", mode=0)
    done = enter(app, "true")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "cannot read it; give it by --env-file" in done.stderr


@pytest.mark.parametrize("kind", ["a regular file", "at most 1 MB"])
def test_a_dotenv_that_is_a_pipe_or_large_is_left_out(app, kind):
    if kind == "at most 1 MB":
        write_dotenv(app, f"WANDB_API_KEY={KEY}\n#" + "x" * (1 << 20) + "\n", mode=0o600)
    else:
        os.mkfifo(app / ".env")
    done = enter(app, "env")
    assert KEY not in done.stdout
    assert kind in done.stderr


@pytest.mark.parametrize("content", [f"{KEY}\n", f"WANDB_API_KEY: {KEY}\n", b"\xff\xfe\0" + KEY.encode()])
def test_a_line_that_is_no_setting_is_told_without_its_content(app, content):
    write_dotenv(app, content)
    done = enter(app, "true")
    assert done.returncode == 0
    assert "line 1 of .env is not NAME=VALUE" in done.stderr
    assert KEY not in done.stdout + done.stderr


# The program


def test_flags_go_to_main_and_anything_else_is_a_command_of_its_own(app):
    assert enter(app, "--a=b c", "-d", "*").stdout.startswith("['main.py', '--a=b c', '-d', '*', ")
    assert enter(app).stdout.startswith("['main.py', ")
    assert enter(app, "printf", "%s|", "a b", "").stdout == "a b||"
    assert enter(app, "sh", "-c", "exit 7").returncode == 7


def test_uploads_are_waited_for_where_the_user_does_not_say_otherwise(app):
    assert enter(app, "--config=x").stdout == "['main.py', '--config=x', '--config.wandb.wait=600']\n"
    given = "--config.wandb.wait=0"
    assert enter(app, "--config=x", given).stdout == f"['main.py', '--config=x', '{given}']\n"


def test_a_signal_reaches_the_program_which_ends_with_a_checkpoint(tmp_path):
    process = launcher.start_anew(
        [
            str(ROOT / "scripts" / "docker_entrypoint.sh"),
            *TINY,
            f"--workdir={tmp_path / 'run'}",
            "--config.train.epochs=2000",
        ],
        env={**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    wait_for_step(process, tmp_path / "run", 1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert "is saved: the same command resumes there" in told
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["steps"] > 0) == ("interrupted", True)
    assert (tmp_path / "run" / "checkpoints" / str(record["steps"])).is_dir()


# The GPU


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Makes a libcuda.so.1 with given answers, and returns an environment that finds it.

    A version below 0: asked for it, the driver fails.
    """
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs a C compiler, on Linux, to stand in for the driver")

    def make(version: int, error: int, count: int) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("driver")
        (folder / "driver.c").write_text(
            f"int cuDriverGetVersion(int *v) {{ *v = {version}; return {version} < 0 ? 999 : 0; }}\n"
            f"int cuInit(unsigned flags) {{ return {error}; }}\n"
            f"int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}\n"
        )
        target = folder / "libcuda.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", target, folder / "driver.c"], check=True)
        return {"LD_LIBRARY_PATH": str(folder), "MNIST_JAX_ACCELERATOR": "cuda"}

    return make


def test_with_a_gpu_jax_has_to_use_it(app, driver):
    usable = driver(13000, 0, 2)
    assert environment_of(app, **usable)["JAX_PLATFORMS"] == "cuda,cpu"
    assert environment_of(app, **usable, JAX_PLATFORMS="cuda")["JAX_PLATFORMS"] == "cuda"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((12040, 0, 1), "the NVIDIA driver supports CUDA 12.4, not 13: install version 580 or later"),
        ((13010, 100, 0), "the NVIDIA driver shows no GPU"),
        ((13010, 0, 0), "the NVIDIA driver shows no GPU"),
        ((13010, 999, 0), "the NVIDIA driver fails with error 999"),
        ((-1, 0, 0), "the NVIDIA driver fails with error 999"),
    ],
)
def test_what_keeps_the_gpu_away_is_told_in_a_line(app, driver, answers, told):
    unusable = driver(*answers)
    done = enter(app, "env", **unusable)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert told in done.stderr
    assert "to use the CPU, set ALLOW_CPU=1" in done.stderr
    allowed = enter(app, "env", **unusable, ALLOW_CPU="1")
    assert allowed.returncode == 0
    assert told in allowed.stderr
    assert "JAX_PLATFORMS=cpu\n" in allowed.stdout


def test_without_a_driver_the_image_for_gpus_says_how_to_show_it_one(app):
    if pathlib.Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a driver")
    done = enter(app, "--config=x", MNIST_JAX_ACCELERATOR="cuda", JAX_PLATFORMS="")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no NVIDIA driver is visible" in done.stderr
    assert "--gpus=all" in done.stderr


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ("--config=x", {"MNIST_JAX_ACCELERATOR": "cpu"}),
        ("--config=x", {"MNIST_JAX_ACCELERATOR": "cuda", "JAX_PLATFORMS": "cpu"}),
        ("--help", {"MNIST_JAX_ACCELERATOR": "cuda"}),
        ("-h", {"MNIST_JAX_ACCELERATOR": "cuda"}),
    ],
)
def test_where_no_gpu_is_meant_to_be_used_none_is_looked_for(app, command, environment):
    done = enter(app, command, **environment)
    assert (done.returncode, done.stderr) == (0, "")
