"""Shared by the tests: small configs, the command line as users run it, and the real MNIST if it is there."""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import filelock
import jax
import launcher
import ml_collections
import pytest
from hypothesis import settings

from configs import digits
from mnist_jax.system import devices

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The first example of a test compiles, which takes longer than the rest.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# Several tests at a time share a GPU, of which JAX would otherwise take most at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

REAL_MNIST = ROOT.parent / "shared" / "data" / "mnist"


# Variables of launchers, logins or CI runners that programs of this project read.
_FOREIGN = ("WANDB_", "SLURM_", "OMPI_", "TPU_", "GIT_", "XDG_", "TFDS_", "LC_")
_FOREIGN_NAMES = {"LANG", "LANGUAGE", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "ALLOW_CPU"}


# One process compiles, the others read. With a size limit JAX locks the cache and scans it at each write, so
# programs that compile in moments are not cached.
_COMPILATION_CACHE = {
    "compilation_cache_max_size": 1 << 33,
    "persistent_cache_min_compile_time_secs": 0.05,
}

# Packages whose tests run each program a few times, so that optimizing it takes longer than running it.
_QUICKLY_COMPILED = {"data", "models", "training"}


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """One folder of all processes that run these tests together."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def once(
    shared_folder: pathlib.Path,
) -> Callable[[str, Callable[[pathlib.Path], Any]], tuple[pathlib.Path, Any]]:
    """`once(name, make)`: a folder that the first test process fills with `make(folder)`, and the JSON value
    that this returned. Nobody else writes to it.
    """

    def ask(name: str, make: Callable[[pathlib.Path], Any]) -> tuple[pathlib.Path, Any]:
        folder, returned = shared_folder / "once" / name, shared_folder / "once" / f"{name}.json"
        folder.parent.mkdir(exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not returned.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a failed try
                folder.mkdir()
                returned.write_text(json.dumps(make(folder)))
        return folder, json.loads(returned.read_text())

    return ask


@pytest.fixture(scope="session")
def run_once(once) -> Callable[..., tuple[pathlib.Path, subprocess.CompletedProcess]]:
    """`run_once(name, *flags)`: the workdir of a run that ended well, and what it printed."""

    def ask(name: str, *flags: str, **options: Any) -> tuple[pathlib.Path, subprocess.CompletedProcess]:
        def make(folder: pathlib.Path) -> list[str]:
            done = run_main(*flags, f"--workdir={folder}", **options)
            assert done.returncode == 0, done.stderr
            return [done.stdout, done.stderr]

        folder, printed = once(name, make)
        return folder, subprocess.CompletedProcess(list(flags), 0, *printed)

    return ask


@pytest.fixture(scope="session", autouse=True)
def _own_machine(tmp_path_factory: pytest.TempPathFactory, shared_folder: pathlib.Path):
    """The same home, locale, terminal, umask and caches everywhere; programs inherit them."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in _FOREIGN_NAMES:
            del os.environ[name]
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[safe]\n    directory = *\n")  # of a checkout that another user owns
    os.environ.update(HOME=str(home), LC_ALL="C.UTF-8", XDG_CACHE_HOME=str(shared_folder / "cache"))
    for name, value in _COMPILATION_CACHE.items():
        os.environ[f"JAX_{name}".upper()] = str(value)
        jax.config.update(f"jax_{name}", value)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(shared_folder / "xla")
    jax.config.update("jax_compilation_cache_dir", str(shared_folder / "xla"))
    os.umask(0o022)
    devices.prepare_host()


@pytest.fixture(autouse=True)
def _compilation(request: pytest.FixtureRequest):
    """Restores the settings of the compilation, which a test may have changed."""
    for name, value in _COMPILATION_CACHE.items():
        jax.config.update(f"jax_{name}", value)
    if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
        jax.config.update("jax_disable_most_optimizations", request.path.parent.name in _QUICKLY_COMPILED)


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """`file_limit(size)`: no file that this process writes can be larger, as under `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tiny_config() -> ml_collections.ConfigDict:
    """Two epochs of the bundled digits with a small network: 76 steps in a second or two.

    Images are moved by whole pixels, because warping them doubles the compile time. The learning rate does
    not depend on the length of the run, so runs of any length share one compiled program.
    """
    config = digits.get_config()
    config.augment.shift, config.augment.rotation, config.augment.scale = 0.0, 0.0, 0.0
    config.augment.crop = 1
    config.model.widths = (8, 8)
    config.model.dense = 16
    config.train.epochs = 2
    config.train.log_every_steps = 10
    config.schedule.unit, config.schedule.warmup = "epochs", 0.5
    config.schedule.name = "step"
    config.schedule.boundaries = (1.0,)
    config.checkpoint.metric = "accuracy"
    config.wandb.mode = "disabled"
    return config


@pytest.fixture(scope="session")
def real_mnist() -> pathlib.Path:
    """The folder with the four canonical MNIST files."""
    if not (REAL_MNIST / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"the MNIST files are not in {REAL_MNIST}")
    return REAL_MNIST


def git(folder: pathlib.Path, *arguments: str) -> str:
    """The output of git in the repository `folder`."""
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository of the program's current files, all of them committed."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    if not listed:
        pytest.skip("the tests do not lie in a git checkout")
    folder = tmp_path / "checkout"
    for name in listed.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message=m")
    return folder


@pytest.fixture
def program_checkout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """A git checkout of a program, and a function that runs git in it, as a user without settings does."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "home").mkdir()
    folder = tmp_path / "checkout"
    file = folder / "mnist_jax" / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("a\n")

    def git(*arguments, **options):
        command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return folder, git


def run_main(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs main.py as a user would and returns its output."""
    return launcher.run(["main.py", *arguments], **options)


def run_script(name: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs a program of scripts/ as a user would and returns its output."""
    return launcher.run([f"scripts/{name}", *arguments], **options)


def run_command(name: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs `mnist-jax NAME ARGUMENTS` as a user would and returns its output."""
    return launcher.run(["-m", "mnist_jax", name, *arguments], **options)


def start_main(*arguments: str, **options):
    """Starts main.py as a user would, its output in pipes."""
    return launcher.start(["main.py", *arguments], **options)


def command(*arguments: str) -> list[str]:
    """Of main.py, for what has to start Python itself."""
    return [sys.executable, str(ROOT / "main.py"), *arguments]


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium or Chrome, driven by Playwright, that reaches only this machine."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium or Chrome on this machine")
    flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=program, args=flags)
        yield found
        found.close()


# The same config as that of `tiny_config`, as flags.
TINY = (
    "--config=configs/digits.py",
    "--config.augment.shift=0.0",
    "--config.augment.rotation=0.0",
    "--config.augment.scale=0.0",
    "--config.augment.crop=1",
    "--config.model.widths=(8,8)",
    "--config.model.dense=16",
    "--config.train.epochs=2",
    "--config.train.log_every_steps=10",
    "--config.schedule.unit=epochs",
    "--config.schedule.warmup=0.5",
    "--config.schedule.name=step",
    "--config.schedule.boundaries=(1.0,)",
    "--config.checkpoint.metric=accuracy",
    "--config.wandb.mode=disabled",
)


@pytest.fixture(scope="session")
def tiny_run(run_once) -> pathlib.Path:
    """The workdir of a finished run of TINY."""
    return run_once("tiny", *TINY)[0]


LONGER = (*TINY, "--config.train.epochs=6", "--config.checkpoint.every_steps=15")


@pytest.fixture(scope="session")
def bfloat16_run(run_once) -> pathlib.Path:
    """The workdir of a finished run of LONGER in bfloat16, whose programs each process compiles."""
    return run_once("bfloat16", *LONGER, "--config.dtype=bfloat16")[0]


@pytest.fixture(scope="session")
def airbench_run(run_once) -> pathlib.Path:
    """The workdir of a model with state beside its parameters: whitened patches and batch-norm statistics."""
    flags = ("--config.model.name=airbench", "--config.model.norm=batch", "--config.evaluation.flip")
    return run_once("airbench", *TINY, *flags)[0]
