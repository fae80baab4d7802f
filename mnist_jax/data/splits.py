"""Split expressions, such as `train[:-5000]`, as ranges of the splits of a set."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_BOUND = r"-?(?:\d+|(?:\d{1,2}|100)%)"
_PLAIN_TERM = re.compile(
    rf"(?P<split>[\w-]+)(?:\[(?!:\])(?P<start>{_BOUND})?:(?P<stop>{_BOUND})?\])?", re.ASCII
)


def split_ranges(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """The ranges that an expression names; see `plain_ranges`. Raises whatever TFDS's parser meets."""
    ranges = plain_ranges(expression, lengths)
    return ranges_by_tfds(expression, lengths) if ranges is None else ranges


def plain_ranges(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]] | None:
    """The ranges that an expression such as `train[:-5000]` or `train[90%:]+test` names, as TFDS has them.

    Runs with the usual expressions are spared the import of TFDS, 0.4 s.

    Args:
      expression: splits and slices of them, https://www.tensorflow.org/datasets/splits
      lengths: split name -> examples.

    Returns:
      (split, from, to) of each term; None where TFDS has to parse the expression, or to refuse it.
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
    """What `plain_ranges` does, of any expression; raises whatever TFDS's parser meets."""
    import tensorflow_datasets as tfds

    class Length(NamedTuple):
        num_examples: int

    instruction = tfds.core.ReadInstruction.from_spec(expression)
    absolute = instruction.to_absolute({name: Length(count) for name, count in lengths.items()})
    return [
        (part.splitname, part.from_ or 0, lengths[part.splitname] if part.to is None else part.to)
        for part in absolute
    ]


def _index(bound: str, length: int) -> int:
    """The index that a boundary of a slice names; a negative one counts from the end."""
    value = round(int(bound[:-1]) * length / 100) if bound.endswith("%") else int(bound)
    return value + length if value < 0 else value
