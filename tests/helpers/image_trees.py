"""Folders of images as their names alone."""

import pathlib

from configs import folder
from mnist_jax.data import layout

TRAIN, TEST = "train/a/1.png train/b/1.png", "test/a/1.png test/b/1.png"


def make(root: pathlib.Path, names: str) -> pathlib.Path:
    """Empty files, and empty folders where a name ends in a slash."""
    for name in names.split():
        path = root / name
        path.mkdir(parents=True) if name.endswith("/") else path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return root


def found(root: pathlib.Path, **expressions: str) -> layout.Layout:
    config = folder.get_config().data
    config.update(expressions)
    return layout.find_layout(root, config)
