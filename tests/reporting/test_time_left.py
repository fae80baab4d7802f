"""The remaining time of a run whose steps, pauses and compilation take a known time."""

import pytest

from configs import digits
from mnist_jax.config.validation import validate
from mnist_jax.reporting.time_left import TimeLeft, duration
from mnist_jax.training.plan import make_plan

BATCH = 32


def estimates(step_seconds, pause, first_pause, compiling):
    """(estimate, truth) after each row of a run of 30 epochs."""
    plan = make_plan(validate(digits.get_config()), 1197)
    now, compiled = 0.0, 0.0
    left = TimeLeft(plan, BATCH, clock=lambda: now, compiled=lambda: compiled)
    assert left.seconds() is None
    found, done = [], 0
    now = compiled = compiling
    for step in sorted(plan.logs | plan.evaluations):
        now += (step - done) * step_seconds
        left.log(
            {"split": "train", "step": step, "steps": step - done, "images_per_second": BATCH / step_seconds}
        )
        found.append((left.seconds(), now))
        done = step
        if step in plan.evaluations:
            now += first_pause if step == min(plan.evaluations) else pause
            left.log({"split": "validation", "step": step})
    end = now + 1.0
    return [(estimate, end - at) for estimate, at in found]


@pytest.mark.parametrize(
    ("step_seconds", "pause", "first_pause", "compiling"),
    [
        (0.004, 0.3, 2.0, 12.0),  # a small model: most of the time is not training
        (0.2, 0.5, 5.0, 60.0),
        (0.2, 6.0, 8.0, 0.0),  # an evaluation as long as an epoch
    ],
)
def test_every_estimate_is_within_a_factor_of_two(step_seconds, pause, first_pause, compiling):
    for estimate, truth in estimates(step_seconds, pause, first_pause, compiling):
        assert truth / 2 < estimate < truth * 2


def test_without_a_measured_step_there_is_no_estimate():
    left = TimeLeft(make_plan(validate(digits.get_config()), 1197), BATCH)
    left.log({"split": "train", "step": 38, "steps": 38, "images_per_second": None})
    left.log({"split": "validation", "step": 38})
    assert left.seconds() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (432_000, "120 h")],
)
def test_a_duration(seconds, text):
    assert duration(seconds) == text
