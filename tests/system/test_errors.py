import errno

import pytest

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
        (OSError(errno.EROFS, "x"), "Read-only file system; what was saved is whole"),
        (
            raised(ValueError("saving"), OSError(errno.EDQUOT, "x", b"/runs/b")),
            "Disk quota exceeded at /runs/b;",
        ),
        (RuntimeError("UNKNOWN: [OS error 28: ENOSPC No space left on device]"), "No space left on device;"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: [OS error 24: EMFILE Too many open files]"),
            "Too many open files; ",
        ),
        (OSError(errno.EACCES, "x", "/runs/a"), "/runs/a cannot be used: Permission denied; mend that"),
        (OSError(errno.ENAMETOOLONG, "x", b"/y"), "/y cannot be used: File name too long; mend that"),
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
