"""What the value of a config field must be: a test, and the same in words."""

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a field may be: a test of its value, and the same in words."""

    accepts: Callable[[Any], bool]
    expects: str


def integer(minimum: int) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and minimum <= value < 2**31

    return Rule(accepts, f"an integer from {minimum} to 2147483647")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def from_zero() -> Rule:
    return Rule(lambda value: _is_number(value) and 0 <= value <= 1e9, "a number from 0 to 1e9")


def above_zero() -> Rule:
    return Rule(lambda value: _is_number(value) and 0 < value <= 1e9, "a number above 0 and up to 1e9")


def fraction(*, include_one: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return _is_number(value) and (0 <= value < 1 or (include_one and value == 1))

    return Rule(accepts, f"a number from 0 {'to' if include_one else 'up to, not including,'} 1")


def choice(*names: str) -> Rule:
    return Rule(lambda value: isinstance(value, str) and value in names, "one of " + ", ".join(names))


def text(*, required: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, str) and "\0" not in value and bool(value.strip() or not required)

    return Rule(accepts, "a text that is not empty" if required else "a text")


def boolean() -> Rule:
    return Rule(lambda value: isinstance(value, bool), "True or False")


def each(rule: Rule, *, empty: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, tuple) and (empty or len(value) > 0) and all(map(rule.accepts, value))

    return Rule(accepts, f"a tuple with {'any' if empty else 'one or more'} entries, each {rule.expects}")
