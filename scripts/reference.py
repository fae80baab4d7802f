"""Generates configs/default.py, docs/config.md and docs/run-json.md from tables in the code.

make docs
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from mnist_jax.config import reference
from mnist_jax.storage import schema

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {
    "configs/default.py": reference.render_default,
    "docs/config.md": reference.render_page,
    "docs/run-json.md": schema.render_keys,
}


def main() -> None:
    for name, render in PAGES.items():
        (ROOT / name).write_text(render())


if __name__ == "__main__":
    main()
