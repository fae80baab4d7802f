"""Parameters that training does not change, selected by a regular expression over their dotted names.

Batch-norm statistics follow the data in frozen layers too: these normalize by their batch in training.
"""

import re
from typing import Any

import jax

from mnist_jax.system.errors import UserError

PyTree = Any


def where_frozen(pattern: str, frozen: PyTree, others: PyTree) -> PyTree:
    """The leaves of one tree if `config.train.freeze` matches their names, else those of another."""
    if not pattern:
        return others
    return jax.tree_util.tree_map_with_path(
        lambda path, stays, changes: stays if re.search(pattern, dotted(path)) else changes, frozen, others
    )


def require_some_trained(pattern: str, params: PyTree) -> None:
    """Raises UserError: `config.train.freeze` matches no parameter, or all of them."""
    names = [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    frozen = sum(bool(re.search(pattern, name)) for name in names)
    if pattern and frozen in (0, len(names)):
        raise UserError(
            f"config.train.freeze must match some parameters, but not all (got {pattern!r}, which matches "
            f"{frozen} of {len(names)}); their names are {', '.join(names)}"
        )


def dotted(path: tuple[Any, ...]) -> str:
    """The name of a leaf of nested dicts, such as "dense.kernel"."""
    return ".".join(str(key.key) for key in path)
