"""The names of the files that runs, studies and tools write to a workdir. Members must have other names."""

import fnmatch

FOLDERS = ("checkpoints", "export", "profile", "tensorboard", "wandb")
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
    """Whether a name is one of these, in any case, because file systems can ignore case."""
    return any(fnmatch.fnmatchcase(name.casefold(), pattern) for pattern in (*FOLDERS, *_FILES))
