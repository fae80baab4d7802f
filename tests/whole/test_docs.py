"""Commands, links, messages and pictures of README.md and docs/, and the pages that mkdocs builds.

Kinds of commands in fenced blocks of language `sh`: those of this project are parsed with all their config
fields, by the parser that they use, and nothing is trained; so are their flags behind an image or a launcher.
All others are in `NOT_RUN`, with the reason. test_api.py runs the Python of python-api.md, one block after
another; other blocks of Python are compiled, and `PYTHON_NOT_RUN` says why they are not run.
"""

import ast
import functools
import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

from mnist_jax.cli import commands, parsing
from mnist_jax.system.errors import UserError

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# What is not run, and why. Flags of this project in these commands are parsed all the same.
NOT_RUN = {
    "docker": "needs an engine and a GPU; test_image.py builds, runs and stops the image",
    "make": "the target exists; CI runs train, lint, docs and test, the others are their parts",
    "sbatch": "needs Slurm; test_slurm.py and test_distributed.py run the scripts with a stand-in for srun",
    "apptainer": "needs Apptainer",
    "kubectl": "needs a cluster; the manifests were checked against the schemas",
    "gcloud": "needs an account of Google Cloud",
    "wandb": "needs an account of W&B; test_wandb_sweep.py starts the agent's command",
    "pip": "installs packages; test_wheel.py and test_installation.py look into the wheel",
    "python": "scripts take minutes, and have tests in tests/scripts; venv and pytest are Python's own",
    "pre-commit": "changes the checkout's git hooks",
    "xprof": "is not among the packages",
    "tensorboard": "is not among the packages; test_tensorboard.py reads the event files",
}
# Blocks of Python beside those of python-api.md, which test_api.py runs.
PYTHON_NOT_RUN = {
    "README.md": "python-api.md has the same calls",
    "experiments.md": "a sweep's file: its names are imported",
    "using-the-model.md": "test_export.py runs the same lines from the exported model card",
    "workdir.md": "reads a run's record; its keys are in the schema",
}
SHELL = {"alias", "cat", "chmod", "do", "done", "echo", "find", "for", "mkdir", "."}
PROGRAMS = {"mnist-jax", "main.py"}


def blocks(page: pathlib.Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, text)."""
    found = re.findall(
        r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return [(language, text) for _, language, text in found]


def lines(page: pathlib.Path) -> list[list[str]]:
    """The commands of a page's shell blocks, as words; joined ones (`|`, `&&`, `;`) one by one."""
    found = []
    for language, text in blocks(page):
        if language == "sh":
            joined = text.replace("\\\n", " ")
            lexer = shlex.shlex(joined, posix=True, punctuation_chars="|&;<>\n")
            lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
            command: list[str] = []
            for word in [*lexer, "\n"]:
                if set(word) <= set("|&;\n"):
                    found += [command] if command else []
                    command = []
                else:
                    command.append(word)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_can_be_given_as_they_are_written(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in lines(page):
        check(words)


def check(words: list[str]) -> None:
    program = pathlib.PurePath(words[0]).name or words[0]
    if program in ("python", "python3"):
        program = "main.py" if words[1] == "main.py" else "python"
    if program in PROGRAMS:
        parse(words[words.index("main.py") if program == "main.py" else 0 :])
        return
    assert program in NOT_RUN or program in SHELL, f"{program}: say in NOT_RUN why it is not run"
    if program == "make":
        check_make(words)
    elif "--config=" in " ".join(words) and program != "python":
        parse_tail(words)
    for word in words:
        if re.fullmatch(r"(scripts|configs|tests)/[\w./]+", word):
            assert (ROOT / word).exists(), word


def parse(words: list[str]) -> None:
    """Reads flags as the command would, config and fields included; nothing is run."""
    name, rest = (words[0], words[1:]) if words[0] == "main.py" else (words[1], words[2:])
    parser = parsing.Parser(name, "")
    if name == "main.py":
        importlib.import_module("main").add_flags(parser)
    else:
        assert name in commands.COMMANDS
        importlib.import_module(f"mnist_jax.cli.{name}").add_flags(parser)
    rest = [word for word in rest if not word.startswith("--import=")]  # python-api.md makes the module
    try:
        parser.parse(rest, parsing.Options(verbosity=0))
    except UserError as error:
        pytest.fail(f"{shlex.join(words)}: {error}")


def parse_tail(words: list[str]) -> None:
    """The flags behind the image or script that a launcher is given."""
    text = " ".join(words).replace("$seed", "0").replace('"', " ")
    program = "mnist-jax" if "sweep" in text.split("--config")[0] else "main.py"
    tail = shlex.split("--config" + text.split("--config", 1)[1])
    name = ["mnist-jax", "sweep"] if program == "mnist-jax" else ["main.py"]
    parse([*name, *tail])


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words[1:]:
        variable, _, value = word.partition("=")
        pattern = rf"^{variable} \?=" if value else rf"^{word}:"
        assert re.search(pattern, makefile, re.MULTILINE), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_known_kinds_and_python_compiles(page):
    for language, text in blocks(page):
        assert language in ("sh", "python", "yaml", "text"), f"{page.name}: {language or 'no language'}"
        if language == "python":
            assert page.name == "python-api.md" or page.name in PYTHON_NOT_RUN
            compile(text, page.name, "exec")
            check_names(text)


def check_names(text: str) -> None:
    """What a block imports from this project exists."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnist_jax"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_tests_of_the_readme_are_those_of_ci():
    assert ["make", "test"] in lines(ROOT / "README.md")
    for file in (".ci/run", ".github/workflows/ci.yml"):
        text = (ROOT / file).read_text()
        assert all(f"make {name}" in text for name in ("lint", "docs", "test"))


def anchors(page: pathlib.Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
    for link in links:
        if link.startswith("https://"):
            assert re.fullmatch(r"https://[\w.-]+(/[^\s]*)?", link), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size <= 200_000, picture


@functools.cache
def said() -> str:
    """Every string of the program, one a line, with ... for its values."""
    found = []
    for file in sorted((ROOT / "mnist_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "..." for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_messages_of_troubleshooting_are_those_of_the_program():
    messages = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 30
    missing = []
    for message in messages:
        if not re.search(".*".join(map(re.escape, message.split("..."))), said()):
            missing.append(message)
    assert not missing, "no string of the program has these"


def test_the_pages_are_built_and_fetch_nothing(tmp_path):
    """`mkdocs build --strict`, as `make docs` has it: every link between pages resolves."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", f"--site-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fetched = set()
    for page in tmp_path.rglob("*.html"):
        text = page.read_text("utf-8")
        tags = re.findall(r"<(?:script|link|img|source|iframe)\b[^>]*>", text)
        fetched |= {tag for tag in tags if re.search(r'(?:src|srcset|href)="?(?:https?:)?//', tag)}
        fetched |= set(re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", text))
    for style in tmp_path.rglob("*.css"):
        fetched |= set(re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)", style.read_text("utf-8")))
    assert not fetched
    assert (tmp_path / "api-reference.html").read_text("utf-8").count("Raises") >= 4
