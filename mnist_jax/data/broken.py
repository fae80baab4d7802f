"""Image files of a set that cannot be read."""

import concurrent.futures
import json
import os
import pathlib
from collections.abc import Sequence

from mnist_jax.data.sources import some
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular, write_whole


def broken_files(root: pathlib.Path, names: Sequence[str], listed: pathlib.Path) -> dict[str, str]:
    """Finds the files that cannot be read, by decoding them, and lists them in a JSON file.

    Args:
        root: folder of the set.
        names: files below it.
        listed: the JSON file. If it exists, only the files that it lists are decoded again, so its name
            must change when the files do.

    Returns:
        Name -> why it cannot be read.

    Raises:
        UserError: `listed` cannot be written.
    """
    earlier = _read(listed)
    suspects = names if earlier is None else [name for name in names if name in earlier]
    broken = _decode_all(root, suspects)
    if broken != earlier:
        _write(listed, broken)
    return broken


def refuse_broken(root: pathlib.Path, names: Sequence[str], listed: pathlib.Path) -> None:
    """Lists all files that cannot be read.

    Raises:
        UserError: Some files cannot be read.
    """
    if broken := broken_files(root, names, listed):
        first = some([f"{root / name}: {reason}" for name, reason in sorted(broken.items())])
        count = "1 image cannot" if len(broken) == 1 else f"{len(broken):,} images cannot"
        raise UserError(
            f"{count} be read, listed in {listed}: {first}; repair or remove them, or leave them out with "
            "--config.data.skip_broken"
        )


def _decode_all(root: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
    from rich.console import Console
    from rich.progress import track

    from mnist_jax.data.image_files import decode, own_rendering

    def reason(name: str) -> str | None:
        try:
            path = str(root / name)
            decode(path, own_rendering(path))
        except UserError as error:
            return str(error)
        return None

    console = Console(stderr=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = track(
            pool.map(reason, names), "looking for broken images", len(names),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        return {name: why for name, why in zip(names, reasons, strict=True) if why is not None}


def _read(listed: pathlib.Path) -> dict[str, str] | None:
    try:
        found = json.loads(read_regular(listed))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(listed: pathlib.Path, broken: dict[str, str]) -> None:
    try:
        listed.parent.mkdir(parents=True, exist_ok=True)
        write_whole(listed, json.dumps(broken, indent=1, sort_keys=True).encode() + b"\n")
    except OSError as error:
        raise UserError(
            f"the list of broken images cannot be written to {listed}: {error.strerror or error}; choose "
            "another folder with --config.data.cache_dir"
        ) from error
