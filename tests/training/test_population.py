import jax
import numpy as np
import pytest
from rounding import assert_rounding_alone, disturbed

from configs import digits
from mnist_jax import data
from mnist_jax.config.fields import validate
from mnist_jax.config.population import VARIED, grouped, is_population, members_in
from mnist_jax.config.variants import members_of
from mnist_jax.data import order
from mnist_jax.data.feeding import Rows
from mnist_jax.metrics.predictions import predictions_of
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh
from mnist_jax.training import experiment
from mnist_jax.training.population import build_population, ensemble, keep_better, state_of

pytestmark = pytest.mark.whole


def asking(config, **fields):
    config.population.update(fields)
    return validate(config)


def test_seeds_and_values_make_members(tiny_config):
    assert not is_population(validate(tiny_config))
    config = asking(tiny_config, seeds=2, learning_rate=(0.1, 0.2), dropout=(0.0, 0.5))
    assert is_population(config)
    members = members_in(config)
    assert [member.name for member in members] == [
        "learning_rate=0.1,dropout=0,seed=0",
        "learning_rate=0.1,dropout=0,seed=1",
        "learning_rate=0.2,dropout=0.5,seed=0",
        "learning_rate=0.2,dropout=0.5,seed=1",
    ]
    last = members[-1].config
    assert (last.seed, last.optimizer.learning_rate, last.model.dropout) == (1, 0.2, 0.5)
    assert not is_population(last)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"learning_rate": (0.1, 0.2), "momentum": (0.9,)},
            "not of one length: learning_rate has 2, momentum",
        ),
        ({"seeds": 2, "seed": (1, 2)}, "has both seeds and seed"),
        ({"seeds": 2, "names": ("a",)}, "names has 1 entries for 2 members"),
        ({"seeds": 2, "names": ("a", "a")}, "names has a name twice"),
        ({"seeds": 2, "names": ("a", "../b")}, "'../b' cannot name a member"),
        ({"seed": (1, 1), "names": ("a", "b")}, "a and b are the same run"),
    ],
)
def test_a_population_that_cannot_be_is_told(tiny_config, fields, expected):
    config = asking(tiny_config, **fields)
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        members_in(config)
    assert expected in str(caught.value)


VALUES = {
    "seed": (3, 4),
    "momentum": (0.9, 0.0),
    "weight_decay": (0.0, 1e-3),
    "label_smoothing": (0.0, 0.1),
    "dropout": (0.0, 0.3),
}


OTHERS = pytest.mark.long  # rules of optax that take the same numbers the same way


@pytest.mark.parametrize(
    ("name", "rates", "changes"),
    [
        ("sgd", (0.02, 0.05), {}),
        ("adamw", (0.002, 0.001), {"schedule.name": "cosine", "train.ema_decay": 0.9}),
        pytest.param(
            "lamb", (0.002, 0.001), {"schedule.name": "step", "schedule.boundaries": (1.0,)}, marks=OTHERS
        ),
        pytest.param(
            "adadelta", (0.2, 0.1), {"schedule.name": "constant", "schedule.warmup": 0.0}, marks=OTHERS
        ),
        pytest.param("lion", (2e-4, 1e-4), {"schedule.name": "linear", "model.norm": "batch"}, marks=OTHERS),
        ("sgd", (0.02, 0.05), {"model.name": "airbench", "model.depth": 1, "optimizer.clip_norm": 1.0}),
        ("muon", (0.01, 0.005), {"optimizer.newton_schulz": 1}),
    ],
)
def test_a_member_is_what_it_would_be_alone(tiny_config, name, rates, changes):
    tiny_config.update_from_flattened_dict({"optimizer.name": name, **changes})
    members = members_in(asking(tiny_config, learning_rate=rates, **VALUES))
    dataset = data.load(members[0].config.data)
    alone = [experiment.build(member.config, dataset) for member in members]
    population, train_chunk = build_population(members, dataset, alone[0].plan, alone[0].mesh)
    states, size = population.states, len(dataset.train.labels)
    for place, one in enumerate(alone):
        jax.tree.map(np.testing.assert_array_equal, one.state, state_of(states, place))

    images, labels = jax.device_put(dataset.train)
    orders = np.stack(
        [order.batch_indices(member.config.seed, 0, 4, batch_size=32, size=size) for member in members]
    )
    together = []
    for step in range(4):
        states, metrics = train_chunk(states, Rows(images, labels, orders[:, step : step + 1]))
        together.append(metrics)
    # Each program takes seconds to compile: the first case trains both members alone, the others the second.
    for place, one in list(enumerate(alone))[0 if (name, changes) == ("sgd", {}) else 1 :]:

        def trained(state, one=one, place=place):
            metrics = []
            for step in range(4):
                state, found = one.train_chunk(state, Rows(images, labels, orders[place, step : step + 1]))
                metrics.append(found)
            return state.params, metrics

        almost = trained(disturbed(one.state))
        found = state_of(states, place).params, jax.tree.map(lambda leaf, k=place: leaf[k], together)
        assert_rounding_alone(found, trained(one.state), almost)


def test_a_chunk_of_steps_is_those_steps(tiny_config):
    members = members_in(asking(tiny_config, seeds=2))
    dataset = data.load(members[0].config.data)
    plan = experiment.make_plan(members[0].config, len(dataset.train.labels))
    images, labels = jax.device_put(dataset.train)
    orders = np.arange(2 * 3 * 32, dtype=np.int32).reshape(2, 3, 32)
    together, train_chunk = build_population(members, dataset, plan, make_mesh(members[0].config))
    states, metrics = train_chunk(together.states, Rows(images, labels, orders))
    assert metrics["loss"].shape == (2, 3)

    def one_by_one(change):
        states = change(build_population(members, dataset, plan, make_mesh(members[0].config))[0].states)
        for step in range(3):
            states, _ = train_chunk(states, Rows(images, labels, orders[:, step : step + 1]))
        return states.params

    expected, almost = one_by_one(lambda states: states), one_by_one(disturbed)
    assert_rounding_alone(states.params, expected, almost)


def test_the_better_states_are_kept(tiny_config):
    members = members_in(asking(tiny_config, seeds=2))
    dataset = data.load(members[0].config.data)
    plan = experiment.make_plan(members[0].config, len(dataset.train.labels))
    population, _ = build_population(members, dataset, plan, make_mesh(members[0].config))
    moved = population._replace(states=jax.tree.map(lambda leaf: leaf + 1, population.states))
    kept = keep_better(moved, np.array([True, False]))
    jax.tree.map(np.testing.assert_array_equal, state_of(kept.best, 0), state_of(moved.states, 0))
    jax.tree.map(np.testing.assert_array_equal, state_of(kept.best, 1), state_of(population.best, 1))


def test_an_ensemble_averages_probabilities():
    rng, labels = np.random.default_rng(0), np.array([0, 1, 2, 1])
    shares = rng.dirichlet(np.ones(3), (5, 4))
    said = [predictions_of(np.log(one).astype(np.float32), labels) for one in shares]
    np.testing.assert_allclose(ensemble(said).probabilities, shares.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(ensemble(said).predicted, shares.mean(axis=0).argmax(axis=1))


def test_members_of_a_sweep_that_differ_in_numbers_are_put_together():
    base = digits.get_config()
    members = members_of(
        base,
        {
            "a": {"optimizer.learning_rate": 0.1},
            "wide": {"model.widths": (64,), "seed": 3},
            "b": {"seed": 1, "model.dropout": 0.1},
            "wide_b": {"model.widths": (64,), "seed": 4},
            "long": {"train.epochs": 99},
        },
    )
    together = grouped(base, members)
    assert [one.name for one in together] == ["population_0", "population_1", "long"]
    again = [*members_in(together[0].config), *members_in(together[1].config), together[2]]
    by_name = {member.name: member.config for member in members}
    assert {one.name: one.config for one in again} == by_name
    assert set(VARIED) == {"seed", "learning_rate", "momentum", "weight_decay", "label_smoothing", "dropout"}
