import fractions
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.system.errors import UserError
from mnist_jax.training.plan import make_plan


@given(
    examples=st.integers(1, 5000),
    batch_size=st.integers(1, 300),
    epochs=st.integers(1, 6),
    evaluate_every=st.integers(0, 200),
    save_every=st.integers(0, 200),
    start=st.integers(0, 400),
    steps_per_call=st.integers(1, 60),
)
def test_chunks_cover_the_run_and_stop_at_every_pause(
    examples, batch_size, epochs, evaluate_every, save_every, start, steps_per_call
):
    config = default.get_config()
    config.train.batch_size, config.train.epochs = batch_size, epochs
    config.evaluation.every_steps, config.checkpoint.every_steps = evaluate_every, save_every
    plan = make_plan(validate(config), examples)
    assert plan.total_steps == math.ceil(fractions.Fraction(epochs * examples, batch_size))
    assert plan.total_steps in plan.logs & plan.evaluations & plan.checkpoints
    assert plan.evaluations <= plan.checkpoints
    chunks = list(plan.chunks(start, steps_per_call))
    ends = [first + count for first, count in chunks]
    assert [first for first, _ in chunks] == ([start, *ends[:-1]] if chunks else [])
    assert all(0 < count <= steps_per_call for _, count in chunks)
    pauses = {step for step in plan.logs | plan.checkpoints if step > start}
    assert pauses <= set(ends)
    assert ends[-1:] == ([plan.total_steps] if start < plan.total_steps else [])
    assert len({count for _, count in chunks}) <= 3  # each is compiled
    for stopped in range(0, len(chunks), len(chunks) // 5 + 1):  # a resumed run
        assert list(plan.chunks(chunks[stopped][0], steps_per_call)) == chunks[stopped:]


def test_evaluations_follow_the_step_that_ends_an_epoch():
    config = default.get_config()
    config.train.epochs = 3
    plan = make_plan(validate(config), 1000)  # 7.8125 steps an epoch
    assert sorted(plan.evaluations) == [8, 16, 24]
    config.train.steps = 20
    assert sorted(make_plan(validate(config), 1000).evaluations) == [8, 16, 20]


def test_a_short_run_has_its_least_length_and_distance_of_evaluations():
    config = default.get_config()
    config.train.epochs, config.train.min_steps, config.evaluation.min_steps = 3, 100, 30
    plan = make_plan(validate(config), 1000)  # 7.8125 steps an epoch
    assert plan.total_steps == 100
    assert sorted(plan.evaluations) == [32, 63, 100]
    assert sorted(make_plan(validate(config), 10_000).evaluations) == [79, 157, 235]
    config.train.steps = 20
    assert make_plan(validate(config), 1000).total_steps == 20


def test_rounding_adds_no_step():
    """15 epochs of 55,000 examples in batches of 825 are 1,000 steps; in floats they are a little more."""
    config = default.get_config()
    config.train.batch_size, config.train.epochs = 825, 15
    plan = make_plan(validate(config), 55_000)
    assert plan.total_steps == 1000
    assert {200, 400, 600, 800} <= plan.evaluations
    assert len(plan.evaluations) == 15


def test_epochs_and_the_run_end_with_an_update():
    config = default.get_config()
    config.train.epochs, config.train.accumulate = 3, 5
    plan = make_plan(validate(config), 1000)  # 7.8125 steps an epoch
    assert sorted(plan.evaluations) == [10, 20, 25]
    config.train.accumulate = 25
    expected = r"^config.train.accumulate must be at most 24, the steps of 3 epochs \(got 25\)[^\n]+$"
    with pytest.raises(UserError, match=expected):
        make_plan(validate(config), 1000)
