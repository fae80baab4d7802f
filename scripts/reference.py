"""Generates configs/default.py, docs/config.md and docs/run-json.md from tables in the code, and the results
in README.md and docs/benchmarks.md from docs/benchmarks.json.

make docs
"""

import functools
import pathlib
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmark import pages

from mnist_jax.config import reference
from mnist_jax.storage import schema

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmarks.json"
PAGES: dict[str, Callable[[], str]] = {
    "configs/default.py": reference.render_default,
    "docs/config.md": reference.render_page,
    "docs/run-json.md": schema.render_keys,
    "docs/benchmarks.md": functools.partial(pages.updated, ROOT / "docs" / "benchmarks.md", RESULTS),
    "README.md": functools.partial(pages.updated, ROOT / "README.md", RESULTS),
}


def main() -> None:
    for name, render in PAGES.items():
        (ROOT / name).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
