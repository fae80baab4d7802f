"""Rules for the values of config fields: a test of a value, and the same test in words."""

import numbers
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_BELOW = 2**31  # integers go to 32-bit arrays


class Rule(NamedTuple):
    """A rule for the value of a field.

    Attributes:
        accepts: whether a value follows the rule.
        expects: the rule in words, after "must be".
        choices: the accepted values, if they are a few names.
        below: integers from here on are not accepted, which an error about one of them adds to `expects`.
    """

    accepts: Callable[[Any], bool]
    expects: str
    choices: tuple[str, ...] = ()
    below: int | None = None


def integer(minimum: int) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and minimum <= value < _BELOW

    return Rule(accepts, f"an integer of at least {minimum}", below=_BELOW)


def from_zero() -> Rule:
    return Rule(lambda value: _is_number(value) and 0 <= value <= 1e9, "a number from 0 to 1e9")


def above_zero() -> Rule:
    return Rule(
        lambda value: _is_number(value) and 0 < value <= 1e9, "a number greater than 0 and at most 1e9"
    )


def fraction(*, include_one: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return _is_number(value) and (0 <= value < 1 or (include_one and value == 1))

    return Rule(accepts, "a number from 0 to 1" if include_one else "a number of at least 0 and less than 1")


def choice(*names: str) -> Rule:
    return Rule(lambda value: isinstance(value, str) and value in names, "one of " + ", ".join(names), names)


def text(*, required: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, str) and "\0" not in value and bool(value.strip() or not required)

    return Rule(accepts, "a non-empty string" if required else "a string")


def pattern() -> Rule:
    def accepts(value: Any) -> bool:
        try:
            return isinstance(value, str) and bool(re.compile(value))
        except (re.error, OverflowError, RecursionError):
            return False

    return Rule(accepts, "a regular expression")


def boolean() -> Rule:
    return Rule(lambda value: isinstance(value, bool), "True or False")


def each(rule: Rule, *, empty: bool = False) -> Rule:
    """A rule for tuples: every entry follows the given rule."""

    def accepts(value: Any) -> bool:
        return isinstance(value, tuple) and (empty or len(value) > 0) and all(map(rule.accepts, value))

    expects = f"a tuple of {'zero' if empty else 'one'} or more entries, each {rule.expects}"
    return Rule(accepts, expects, below=rule.below)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
