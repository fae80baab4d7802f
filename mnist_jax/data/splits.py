"""Split expressions, such as `train[:-5000]`: their ranges, and the choice of splits by name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mnist_jax.data.sources import ROLES, some
from mnist_jax.system.errors import UserError

# The usual name of a split -> its role.
ROLE_OF = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation",
    "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_BOUND = r"-?(?:\d+|(?:\d{1,2}|100)%)"
_PLAIN_TERM = re.compile(
    rf"(?P<split>[\w-]+)(?:\[(?!:\])(?P<start>{_BOUND})?:(?P<stop>{_BOUND})?\])?", re.ASCII
)


def split_ranges(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """The ranges that an expression names; see `plain_ranges`. Raises whatever TFDS's parser raises."""
    ranges = plain_ranges(expression, lengths)
    return ranges_by_tfds(expression, lengths) if ranges is None else ranges


def plain_ranges(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]] | None:
    """The ranges that an expression such as `train[:-5000]` or `train[90%:]+test` names, as in TFDS.

    Runs with the usual expressions avoid the import of TFDS, 0.4 s.

    Args:
      expression: splits and slices of them, https://www.tensorflow.org/datasets/splits
      lengths: split name -> examples.

    Returns:
      (split, from, to) of each term; None if TFDS must parse or refuse the expression.
    """
    ranges = []
    for term in re.split(r"\s*\+\s*", expression):
        match = _PLAIN_TERM.fullmatch(term)
        if match is None or match["split"] == "all" or match["split"] not in lengths:
            return None
        length, bounds = lengths[match["split"]], (match["start"], match["stop"])
        start, stop = _index(bounds[0] or "0", length), _index(bounds[1] or str(length), length)
        mixed = len({bound.endswith("%") for bound in bounds if bound}) > 1
        if mixed or not (0 <= start <= length and 0 <= stop <= length):
            return None
        ranges.append((match["split"], start, stop))
    return ranges


def ranges_by_tfds(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """As `plain_ranges`, for any expression; raises whatever TFDS's parser raises."""
    import tensorflow_datasets as tfds

    class Length(NamedTuple):
        num_examples: int

    instruction = tfds.core.ReadInstruction.from_spec(expression)
    absolute = instruction.to_absolute({name: Length(count) for name, count in lengths.items()})
    return [
        (part.splitname, part.from_ or 0, lengths[part.splitname] if part.to is None else part.to)
        for part in absolute
    ]


def splits_in(expressions: Iterable[str]) -> set[str]:
    """The splits that expressions such as `train[:90%]+test` name."""
    return {re.split(r"[\[\]]", term)[0].strip() for one in expressions for term in one.split("+")}


def expressions_by_name(
    where: object, splits: Sequence[str], given: Mapping[str, str], *, kind: str = "split"
) -> dict[str, str]:
    """The split expression of each role: the given one, or by the names of the splits.

    A training split alone is cut 80/10/10; without a validation split, a tenth of training validates.

    Args:
        where: the set, for messages.
        splits: the names of all splits.
        given: role -> expression, for the roles that the user chooses.
        kind: the word for a split in messages.

    Raises:
        UserError: There is no split for training or for testing, or there are two for one role.
    """
    if len(given) == len(ROLES):
        return dict(given)
    named, own = splits_in(given.values()), dict[str, str]()
    for name in splits:
        role = ROLE_OF.get(name.lower())
        if role in own and role not in given:
            raise UserError(f"{where} must have one {role} {kind} (got {own[role]} and {name}); remove one")
        if role:
            own[role] = name
    train = own.get("train") or (splits[0] if len(splits) == 1 and not own else None)
    if train is None:
        raise UserError(
            f"{where} must have a train {kind} (got {some(splits)}); name the {kind}s with "
            "--config.data.train, --config.data.validation and --config.data.test"
        )
    own = {role: split for role, split in own.items() if split not in named and split != train} | dict(given)
    if "test" not in own and "validation" in own:
        other = own["validation"]
        raise UserError(
            f"{where} must have a test {kind} beside {train} and {other}; to test on {other}, and validate "
            f"on a tenth of {train}, give --config.data.test={other}"
        )
    if "test" not in own:
        slices = {"train": "[:80%]", "validation": "[80%:90%]", "test": "[90%:]"}
    elif "validation" not in own:
        slices = {"train": "[:90%]", "validation": "[90%:]"}
    else:
        slices = {"train": ""}
    return {**own, **{role: train + part for role, part in slices.items()}, **given}


def splits_in_words(where: object, splits: Iterable[str], expressions: Mapping[str, str]) -> str:
    """One line about the splits that were chosen for the user."""
    roles = ", ".join(f"{role}={expressions[role]}" for role in ROLES)
    unused = sorted(set(splits) - splits_in(expressions.values()))
    return f"splits of {where}: {roles}" + (f"; not used: {some(unused)}" if unused else "")


def _index(bound: str, length: int) -> int:
    """The index that a boundary of a slice names; a negative one counts from the end."""
    value = round(int(bound[:-1]) * length / 100) if bound.endswith("%") else int(bound)
    return value + length if value < 0 else value
