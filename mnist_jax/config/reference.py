"""The table of config fields as configs/default.py, as docs/config.md, and as text for `--help`."""

import re
import textwrap
from collections.abc import Iterator

from mnist_jax.config.fields import FIELDS, GROUPS, Field, unknown_field
from mnist_jax.system.errors import UserError

_DEFAULT_HEAD = '''\
"""Every field of a run, with its default: MNIST, a small CNN, SGD with a one-cycle schedule.

To make a config of your own, copy this file, or import it as the other files of this folder do and change a
few lines. Each field is also a flag, such as `--config.train.batch_size=256`. `make docs` generates this
file from the table in mnist_jax/config/fields.py; docs/config.md adds the rule of each field.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
'''

_PAGE_HEAD = """# Config fields

Every field of a config, its default, and what its value must be. Change a field on the command line, with
`--config.FIELD=VALUE`, or in a config file that imports `configs/default.py`.

A workdir belongs to one config. Fields marked with \\* may change when its run is resumed: they are paths,
change only rounding, or belong to Weights & Biases.

`make docs` generates this page from `mnist_jax/config/fields.py`.
"""


def render_default() -> str:
    """Returns the text of configs/default.py."""
    blocks = []
    for group, names in _groups():
        target = f"config.{group}" if group else "config"
        lines = _as_comment(GROUPS[group]) if group else []
        lines.append(f"    {target} = ml_collections.ConfigDict()")
        lines += [
            f"    config.{name} = {_literal(FIELDS[name].default)}  # {_comment(FIELDS[name])}"
            for name in names
        ]
        blocks.append("\n".join(lines))
    return _DEFAULT_HEAD + "\n\n".join([*blocks, "    return config.lock()"]) + "\n"


def render_page() -> str:
    """Returns the text of docs/config.md: a table for each group of fields."""
    blocks = [_PAGE_HEAD]
    for group, names in _groups():
        lines = [f"## {group or 'General'}", ""]
        if group:
            lines += [_sentence(GROUPS[group]), ""]
        lines += ["| field | default | must be | meaning |", "|---|---|---|---|", *map(_row, names)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def help_text(asked: str, width: int) -> str:
    """Returns fields as flags, each with its default, its meaning and its rule, by group, for `--help`.

    Args:
        asked: A group such as "train", a field such as "train.epochs", or "" for all.
        width: The characters of a line.

    Raises:
        UserError: there is no such group or field.
    """
    blocks = []
    for group, names in _groups():
        if shown := [name for name in names if asked in ("", group, name)]:
            title = f"{group}: {GROUPS[group]}" if group else GROUPS[group]
            blocks.append("\n".join([*textwrap.wrap(title, width), *(_flag_help(n, width) for n in shown)]))
    if not blocks:
        raise UserError(unknown_field(asked))
    return "\n\n".join(blocks)


def list_fields(width: int) -> str:
    """Returns the names of all fields, by group."""
    lines = []
    for group, names in _groups():
        own = ", ".join(name.rpartition(".")[2] for name in names)
        lines += textwrap.wrap(f"  {group:12}{own}", width, subsequent_indent=" " * 14)
    return "\n".join(lines)


def _groups() -> Iterator[tuple[str, list[str]]]:
    for group in GROUPS:
        yield group, [name for name in FIELDS if name.rpartition(".")[0] == group]


def _row(name: str) -> str:
    field = FIELDS[name]
    mark = "" if field.identifies else " \\*"
    cells = (f"`{name}`{mark}", f"`{_literal(field.default)}`", field.rule.expects, field.help)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _flag_help(name: str, width: int) -> str:
    field = FIELDS[name]
    about = textwrap.wrap(f"{field.help}; must be {field.rule.expects}", width - 8)
    return "\n".join([f"  --config.{name}={_literal(field.default)}", *(f"        {line}" for line in about)])


def _comment(field: Field) -> str:
    choices = " | ".join(field.rule.choices)
    return f"{choices}: {field.help}" if choices else field.help


def _as_comment(text: str) -> list[str]:
    return textwrap.wrap(_sentence(text), 106, initial_indent="    # ", subsequent_indent="    # ")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _literal(value: object) -> str:
    """A default as Python source, in the formatter's style: "text", 1e-8."""
    return f'"{value}"' if isinstance(value, str) else re.sub(r"(?<=e-)0+", "", repr(value))
