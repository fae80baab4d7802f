"""The table of config fields as configs/default.py, as docs/config.md, and as text for `--help`."""

import textwrap
from collections.abc import Iterator

from mnist_jax.config.fields import FIELDS, GROUPS

_HEAD = '''"""Every field of a run, with its default: MNIST, a small CNN, SGD with a one-cycle schedule.

Copy this file to make a config of your own, or import it as the others do and change a few lines. Any field
can be changed on the command line as well: `--config.train.batch_size=256`. `make docs` writes this file from
the table in mnist_jax/config/fields.py.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
'''


def render_default() -> str:
    """configs/default.py."""
    lines = []
    for group, names in _groups():
        lines.append("")
        if group:
            lines += textwrap.wrap(_sentence(group), 106, initial_indent="    # ", subsequent_indent="    # ")
        lines.append(f"    config{'.' + group if group else ''} = ml_collections.ConfigDict()")
        lines += [
            f"    config.{name} = {_literal(FIELDS[name].default)}  # {FIELDS[name].help}" for name in names
        ]
    return _HEAD + "\n".join(lines[1:]) + "\n\n    return config.lock()\n"


def render_page() -> str:
    """docs/config.md."""
    lines = [
        "# Config fields",
        "",
        "Every field of a config. Change one on the command line by `--config.FIELD=VALUE`, or in a file of",
        "your own; see [configs/default.py](../configs/default.py). Fields marked with * may differ when a",
        "run is resumed: they say where things are, or change rounding alone.",
    ]
    for group, names in _groups():
        title = group or "run"
        lines += ["", f"## {title}", "", _sentence(group), ""]
        lines += ["| field | default | must be | |", "|---|---|---|---|"]
        for name in names:
            field = FIELDS[name]
            mark = "" if field.identifies else " *"
            cells = (f"`{name}`{mark}", f"`{_literal(field.default)}`", field.rule.expects, field.help)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def help_text() -> str:
    """A line for each field, for `--help`."""
    return "\n".join(
        f"  --config.{name}={_literal(field.default)}\n      {field.help}" for name, field in FIELDS.items()
    )


def _groups() -> Iterator[tuple[str, list[str]]]:
    for group in GROUPS:
        yield group, [name for name in FIELDS if name.rpartition(".")[0] == group]


def _sentence(group: str) -> str:
    return f"{GROUPS[group][0].upper()}{GROUPS[group][1:]}."


def _literal(value: object) -> str:
    """A value as Python source, with the quotes that the formatter wants."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
