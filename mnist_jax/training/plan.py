"""When a run logs, evaluates, saves and ends, in steps."""

import bisect
import collections
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import ml_collections

from mnist_jax.system.errors import UserError

_PAUSES = 1_000_000  # which are kept in memory


class Plan(NamedTuple):
    """A step is the number of steps taken: 0 before the first. Every set ends with `total_steps`."""

    total_steps: int
    steps_per_epoch: float
    logs: frozenset[int]
    evaluations: frozenset[int]
    checkpoints: frozenset[int]

    def epoch(self, step: int) -> float:
        """The number of epochs in a number of steps."""
        return step / self.steps_per_epoch

    def evaluations_between(self, first: int, last: int) -> int:
        """The number of evaluations after the step `first`, up to the step `last`."""
        steps = _in_order(self.evaluations)
        return max(bisect.bisect(steps, last) - bisect.bisect(steps, first), 0)

    def chunks(self, start: int, steps_per_call: int) -> Iterator[tuple[int, int]]:
        """(first step, number of steps) of each dispatch from `start` on; none spans a pause.

        Each number of steps is a program to compile, so there are three of them: a share of the usual
        distance between pauses, its root, and one. The largest come first, so that a resumed run has the
        remaining chunks, and with them the same bits.
        """
        pauses = sorted(self.logs | self.evaluations | self.checkpoints)
        gaps = collections.Counter(end - begin for begin, end in itertools.pairwise([0, *pauses]))
        [(usual, _)] = gaps.most_common(1)
        largest = _share(usual, _share(usual, steps_per_call))
        sizes = largest, math.isqrt(largest), 1
        for pause in pauses:
            while start < pause:
                count = next(size for size in sizes if size <= pause - start)
                yield start, count
                start += count


def make_plan(config: ml_collections.FrozenConfigDict, examples: int) -> Plan:
    """The plan of a run on a number of training examples.

    Without `config.evaluation.every_steps`, an evaluation follows the update that ends an epoch.
    Raises UserError: the run is too long to plan, or shorter than an update.
    """
    batch_size, accumulate = config.train.batch_size, config.train.accumulate
    few = max(_steps(examples, batch_size, 1, config.train.epochs), config.train.min_steps)
    if not config.train.steps and accumulate > few:
        raise UserError(
            f"config.train.accumulate must be at most {few}, the steps of {config.train.epochs} epochs (got "
            f"{accumulate}); lengthen the run with config.train.epochs"
        )
    steps = functools.partial(_steps, examples, batch_size, accumulate)
    least = _share(config.train.min_steps, accumulate) * accumulate
    total = config.train.steps or max(steps(config.train.epochs), least)

    epochs = -(-total * batch_size // examples)
    fields = (config.train.log_every_steps, config.checkpoint.every_steps, config.evaluation.every_steps)
    pauses = total // min(filter(None, fields)), epochs * (not config.evaluation.every_steps)
    if max(pauses) > _PAUSES:
        raise UserError(
            f"the run has {total:,} steps, {epochs:,} epochs, and would pause more than {_PAUSES:,} times; "
            "shorten it with config.train.epochs or steps, or log, evaluate and save less often"
        )

    def every(steps: int) -> set[int]:
        return set(range(steps, total, steps)) if steps else set()

    epoch_ends = (steps(epoch) for epoch in range(1, epochs))
    by_steps = config.evaluation.every_steps
    evaluations = every(by_steps) if by_steps else _apart(epoch_ends, config.evaluation.min_steps, total)
    return Plan(
        total_steps=total,
        steps_per_epoch=examples / batch_size,
        logs=frozenset(every(config.train.log_every_steps) | {total}),
        evaluations=frozenset(evaluations | {total}),
        checkpoints=frozenset(every(config.checkpoint.every_steps) | evaluations | {total}),
    )


@functools.lru_cache(maxsize=1)
def _in_order(steps: frozenset[int]) -> list[int]:
    """Sorted once: a run asks for each row that it logs, and may have a million steps here."""
    return sorted(steps)


def _apart(steps: Iterable[int], least: int, total: int) -> set[int]:
    """The increasing steps that are at least this far from each other, from 0, and from the end."""
    found, last = set(), 0
    for step in steps:
        if step - last >= least and total - step >= max(least, 1):
            found.add(step)
            last = step
    return found


def _steps(examples: int, batch_size: int, accumulate: int, epochs: int) -> int:
    """Steps for a number of epochs, in whole updates."""
    return _share(epochs * examples, batch_size * accumulate) * accumulate


def _share(whole: int, parts: int) -> int:
    """whole / parts, rounded up; in integers, because floats can round up too far."""
    return -(-whole // parts)
