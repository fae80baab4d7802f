"""The names that a run, its studies and its tools use in a workdir. Members must have other names."""

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
    """Whether a name is one of these, ignoring case, as some file systems do."""
    return any(fnmatch.fnmatchcase(name.casefold(), pattern) for pattern in (*FOLDERS, *_FILES))
