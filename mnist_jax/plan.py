"""When a run logs, evaluates, saves and ends, in steps."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import ml_collections


class Plan(NamedTuple):
    """Steps are counted as taken: 0 before the first. Every set ends with `total_steps`."""

    total_steps: int
    steps_per_epoch: float
    logs: frozenset[int]
    evaluations: frozenset[int]
    checkpoints: frozenset[int]

    def epoch(self, step: int) -> float:
        """How many epochs so many steps are."""
        return step / self.steps_per_epoch

    def chunks(self, start: int, steps_per_call: int) -> Iterator[tuple[int, int]]:
        """(first step, number of steps) of each dispatch from `start` on; none reaches over a pause."""
        for pause in sorted(self.logs | self.evaluations | self.checkpoints):
            while start < pause:
                count = min(steps_per_call, pause - start)
                yield start, count
                start += count


def make_plan(config: ml_collections.FrozenConfigDict, examples: int) -> Plan:
    """The plan of a run on so many training examples.

    Without `config.evaluation.every_steps`, an evaluation follows the step that ends an epoch.
    """
    steps_per_epoch = examples / config.train.batch_size
    total = config.train.steps or math.ceil(config.train.epochs * steps_per_epoch)

    def every(steps: int) -> set[int]:
        return set(range(steps, total, steps)) if steps else set()

    epochs = math.ceil(total / steps_per_epoch)
    epoch_ends = {math.ceil(epoch * steps_per_epoch) for epoch in range(1, epochs)}
    every_evaluation = config.evaluation.every_steps
    evaluations = every(every_evaluation) if every_evaluation else {end for end in epoch_ends if end < total}
    return Plan(
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        logs=frozenset(every(config.train.log_every_steps) | {total}),
        evaluations=frozenset(evaluations | {total}),
        checkpoints=frozenset(every(config.checkpoint.every_steps) | evaluations | {total}),
    )
