"""The files of a table: one file, or a folder of files named by their splits."""

import os
import pathlib
import re
import stat
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mnist_jax.data.cache import stamp
from mnist_jax.data.finding import is_hidden
from mnist_jax.data.sources import some
from mnist_jax.data.splits import ROLE_OF
from mnist_jax.system.errors import UserError

KINDS = (".npz", ".csv", ".csv.gz", ".parquet")
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(ROLE_OF)})(?![a-z])")
_SHARD = re.compile(r"-(\d+)-of-(\d+)")


class TableFiles(NamedTuple):
    """The files of a table.

    Attributes:
        root: the file or the folder.
        kind: one of `KINDS`.
        splits: split -> its files; {"": [file]} for a single file, which may contain splits.
        unused: names of tables that are not a split.
    """

    root: pathlib.Path
    kind: str
    splits: Mapping[str, Sequence[pathlib.Path]]
    unused: Sequence[str]

    @property
    def name(self) -> str:
        """The name of the file without its suffix, or of the folder."""
        name = self.root.name
        return name.removesuffix(self.kind) if self.splits.keys() == {""} and self.root.is_file() else name

    @property
    def stamps(self) -> list[object]:
        """The name of each file, and its stamp, which changes when the file does."""
        paths = [path for files in self.splits.values() for path in files]
        for path in paths:
            require_file(path)
        return [(path.name, stamp(path)) for path in paths]


def find_tables(name: str) -> TableFiles:
    """Finds the files of `config.data.dir`.

    Raises:
        UserError: There is no table, tables of several kinds, or shards are missing.
    """
    kinds = ", ".join(KINDS)
    if not name:
        raise UserError(f"config.data.dir must be a table or a folder of tables, {kinds} (got ''); give one")
    root = pathlib.Path(os.path.expanduser(name)).resolve()
    if not root.is_dir():
        if kind_of(root) is None:
            raise UserError(f"config.data.dir must be a table, {kinds}, or a folder of tables (got {root})")
        require_file(root)
        return TableFiles(root, kind_of(root) or "", {"": [root]}, ())
    tables = _tables(root)
    if not tables:
        below = [str(path) for path in sorted(root.iterdir()) if path.is_dir() and _tables(path)]
        hint = f"give --config.data.dir={below[0]}" if below else "give the folder or the file of your table"
        raise UserError(f"config.data.dir must hold a table, {kinds} (got {root}, which has none); {hint}")
    if len(tables) == 1:
        return TableFiles(root, kind_of(tables[0]) or "", {"": tables}, ())
    return _by_split(root, tables)


def kind_of(path: pathlib.Path) -> str | None:
    """The kind of a table, by its suffix; None for other files."""
    return next((kind for kind in KINDS if path.name.lower().endswith(kind)), None)


def require_file(path: pathlib.Path) -> None:
    """Checks that a path is a file.

    Raises:
        UserError: It cannot be read, or is not a regular file, such as a pipe.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} must be a regular file (got a folder, pipe or device)")


def _tables(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(path for path in folder.iterdir() if kind_of(path) and not is_hidden(path.name))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from error


def _by_split(root: pathlib.Path, tables: Sequence[pathlib.Path]) -> TableFiles:
    splits: dict[str, list[pathlib.Path]] = {}
    for path in tables:
        if match := _SPLIT.search(path.name.lower()):
            splits.setdefault(match[1], []).append(path)
    used = [path for files in splits.values() for path in files]
    if not used:
        raise UserError(
            f"config.data.dir must hold one table, or tables named by their splits, such as train.csv and "
            f"test.csv (got {some([path.name for path in tables])} in {root}); give the file"
        )
    if len(kinds := sorted({kind_of(path) or "" for path in used})) > 1:
        raise UserError(
            f"the tables of {root} must be of one kind (got {' and '.join(kinds)}); give the file"
        )
    for split, files in splits.items():
        _check_shards(root, split, [path.name for path in files])
    return TableFiles(root, kinds[0], splits, [path.name for path in tables if path not in used])


def _check_shards(root: pathlib.Path, split: str, names: Sequence[str]) -> None:
    """Refuses two files of a split that are not shards, and incomplete sets of shards."""
    shards = [_SHARD.search(name) for name in names]
    of = {int(shard[2]) for shard in shards if shard}
    if len(names) == 1 and not of:
        return
    if None in shards or len(of) != 1:
        raise UserError(
            f"{root} must have one table of the split {split}, or shards such as {split}-00000-of-00002"
            f".parquet (got {some(names)}); give the file"
        )
    there = {int(shard[1]) for shard in shards if shard}
    count = next(iter(of))
    if missing := set(range(count)) - there:
        raise UserError(
            f"the split {split} of {root} must have {count} shards (got {len(there)}, without number "
            f"{min(missing)}); fetch the others"
        )
