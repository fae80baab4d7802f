"""The names in a workdir: what a run, its studies and its tools leave there. Members take other names."""

import fnmatch

FOLDERS = ("checkpoints", "export", "profile", "wandb")
_FILES = (
    "run.json",
    "metrics.jsonl",
    "predictions.npz",
    "report.html",
    "evaluation-*",
    "code-*.patch",
    "output.log",
    "compare.html",
    "optuna.db*",
    ".*",  # the lock, and temporary files
)


def is_reserved(name: str) -> bool:
    """Whether a name in a workdir is one of these, in any case of its letters: file systems can ignore it."""
    return any(fnmatch.fnmatchcase(name.casefold(), pattern) for pattern in (*FOLDERS, *_FILES))
