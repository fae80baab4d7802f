import ast
import errno
import pathlib
import re
from collections.abc import Iterator

import pytest

import mnist_jax
from mnist_jax.system.errors import UserError, circumstance


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "x", "/runs/a/run.json"), "No space left on device at /runs/a/run.json; "),
        (OSError(errno.EROFS, "x"), "Read-only file system; saved files are complete"),
        (
            raised(ValueError("saving"), OSError(errno.EDQUOT, "x", b"/runs/b")),
            "Disk quota exceeded at /runs/b;",
        ),
        (RuntimeError("UNKNOWN: [OS error 28: ENOSPC No space left on device]"), "No space left on device;"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: [OS error 24: EMFILE Too many open files]"),
            "Too many open files; ",
        ),
        (OSError(errno.EACCES, "x", "/runs/a"), "/runs/a cannot be used: Permission denied; fix that"),
        (OSError(errno.ENAMETOOLONG, "x", b"/y"), "/y cannot be used: File name too long; fix that"),
        (MemoryError(), "out of memory; lower config.train.batch_size"),
        (raised(TypeError("x"), RuntimeError("RESOURCE_EXHAUSTED: 4 GiB")), "out of memory; lower"),
    ],
)
def test_what_the_machine_does_not_give_is_told(error, expected):
    assert circumstance(error).startswith(expected)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "x", "/a"), OSError(errno.EACCES, "x"), ValueError("x"), UserError("y")]
)
def test_other_errors_are_none(error):
    assert circumstance(error) is None


def raised_strings() -> Iterator[tuple[str, str]]:
    """(place, text) of every string that the package gives to UserError; `{}` is a value."""
    for path in sorted(pathlib.Path(mnist_jax.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError" and node.args:
                for text in texts_of(node.args[0]):
                    yield f"{path.name}:{node.lineno}", text


def texts_of(node: ast.expr) -> list[str]:
    """The texts that an expression can be, of those that are written in it."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(part.value if isinstance(part, ast.Constant) else "{}" for part in values)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [a + b for a in texts_of(left) or ["{}"] for b in texts_of(right) or ["{}"]]
        case ast.IfExp(body=body, orelse=orelse):
            return texts_of(body) + texts_of(orelse)
    return []


# Of the style guide's table of words to avoid.
BAD_WORDS = re.compile(
    r"\b(told|tells|goes on|gone on|is let|may be one of|of which|what is left|what comes of|lies in)\b"
)


def test_every_message_for_the_user_has_one_form():
    """One line without a full stop, which starts with a field, a flag, a file or a small letter."""
    found = list(raised_strings())
    assert len(found) > 100
    wrong = [
        f"{place}: {text}"
        for place, text in found
        if "\n" in text
        or text != text.strip()
        or text.endswith((".", "!"))
        or "  " in text
        or BAD_WORDS.search(text)
        or not re.match(r"\{\}|config\.|-|[a-z]|[A-Z][A-Z_0-9]+\b|W&B", text)
    ]
    assert wrong == []
