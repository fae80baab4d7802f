import math
import re

import jax.numpy as jnp
import pytest

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.training import meter as meter_module
from mnist_jax.training.meter import Meter
from mnist_jax.training.plan import make_plan


@pytest.fixture
def clock(monkeypatch):
    """A clock that each test sets."""

    class Clock:
        now = 0.0

    monkeypatch.setattr("time.perf_counter", lambda: Clock.now)
    return Clock


def meter_of(**given):
    config = default.get_config()
    config.train.update(steps=8, batch_size=10, log_every_steps=4)
    return Meter(make_plan(validate(config), 40), batch_size=10, before={}, **given)


def metrics(*losses, nonfinite=None, **changes):
    ones = jnp.ones(len(losses))
    counts = [int(loss != loss) for loss in losses] if nonfinite is None else nonfinite
    values = {"loss": jnp.array(losses), "accuracy": ones, "learning_rate": ones * 0.1, "grad_norm": ones}
    values |= {"nonfinite": jnp.array(counts), **{key: jnp.array(of) for key, of in changes.items()}}
    return [{key: of[None] for key, of in values.items()}]


def test_rows_average_an_interval_and_time_it_without_compilation_and_pauses(clock):
    meter = meter_of()
    rows = []

    def chunk(step, seconds, *losses, pause=False):
        rows.extend(meter.fetch())
        meter.put(step, metrics(*losses))
        clock.now += seconds
        if pause:
            rows.extend(meter.fetch(pause=True))

    chunk(2, 100.0, 4.0, 3.0)  # compiles
    chunk(4, 1.0, 2.0, 1.0)
    chunk(6, 1.0, 6.0, 6.0, pause=True)
    clock.now += 50.0  # an evaluation
    meter.resume()
    chunk(8, 2.0, 5.0, 7.0, pause=True)
    first, second, third = rows
    assert (first["step"], first["steps"], first["loss"], first["epoch"]) == (4, 4, 2.5, 1.0)
    assert (second["step"], second["steps"], second["loss"]) == (6, 2, 6.0)
    assert (third["step"], third["steps"], third["loss"]) == (8, 2, 6.0)
    assert first["learning_rate"] == pytest.approx(0.1)
    assert second["images_per_second"] == pytest.approx(20)
    assert third["images_per_second"] == pytest.approx(10)
    assert meter.progress["train_seconds"] == pytest.approx(4.0)
    assert meter.progress["images"] == 60
    assert meter.progress["images_per_second"] == pytest.approx(15)


def test_compilation_between_chunks_is_not_training(clock, monkeypatch):
    compiled = 0.0
    monkeypatch.setattr(meter_module, "compile_seconds", lambda: compiled)
    meter = meter_of()
    meter.put(2, metrics(1.0, 1.0))
    meter.fetch()
    meter.put(4, metrics(1.0, 1.0))
    clock.now, compiled = 31.0, 30.0  # a chunk of another size is compiled while this one runs
    assert meter.fetch()[0]["images_per_second"] is None
    meter.put(8, metrics(1.0, 1.0, 1.0, 1.0))
    clock.now = 33.0
    assert meter.fetch()[0]["images_per_second"] == pytest.approx(20)
    assert meter.progress["train_seconds"] == pytest.approx(2.0)
    assert meter.progress["images"] == 40


def test_a_loss_that_is_not_finite_is_told_with_its_step():
    meter = meter_of()
    meter.put(4, metrics(1.0, 1.0, float("nan"), 1.0))
    meter.fetch()
    assert re.search(r"the loss is nan at step 3 \(learning rate 0.1, gradient norm 1\)", meter.diverged[0])


def test_a_gradient_that_is_not_finite_is_told_too():
    meter = meter_of()
    meter.put(4, metrics(1.0, 1.0, nonfinite=[0, 1], grad_norm=[1.0, float("inf")]))
    meter.fetch()
    assert re.search(r"the gradient norm is inf at step 4 ", meter.diverged[0])


def test_so_many_in_a_row_may_be_skipped_and_do_not_count():
    nan, meter = float("nan"), meter_of(skipped=2)
    meter.put(4, metrics(1.0, nan, nan, 3.0, nonfinite=[0, 1, 2, 0]))
    [row] = meter.fetch()
    assert row["loss"] == 2.0
    assert "nonfinite" not in row
    meter.put(6, metrics(nan, nan, nonfinite=[1, 2]))
    assert math.isnan(meter.fetch(pause=True)[0]["loss"])
    meter.put(8, metrics(nan, 1.0, nonfinite=[3, 0]))
    meter.fetch()
    assert re.search("the loss is nan at step 7 ", meter.diverged[0])


def test_nothing_under_way_gives_no_row():
    assert meter_of().fetch() == []
    assert meter_of().progress["images_per_second"] is None


def test_progress_goes_on_from_where_it_was_saved():
    before = {"train_seconds": 10.0, "images": 200, "wall_seconds": 1000.0}
    config = default.get_config()
    meter = Meter(make_plan(validate(config), 40), batch_size=10, before=before)
    assert meter.progress["images_per_second"] == 20
    assert meter.progress["wall_seconds"] > 1000


def test_of_several_models_each_has_its_row_and_its_fault():
    nan, meter = float("nan"), meter_of(models=2)
    meter.put(4, [*metrics(1.0, 3.0, 1.0, 3.0), *metrics(4.0, nan, 4.0, 6.0)])
    first, second = meter.fetch()
    assert (first["loss"], second["steps"]) == (2.0, 4)
    assert second["loss"] == pytest.approx(14 / 3)
    assert list(meter.diverged) == [1]
    assert "at step 2 " in meter.diverged[1]
