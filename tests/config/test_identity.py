import copy
import json

import pytest

from configs import default
from mnist_jax.config.fields import FIELDS, IN_EVERY_RECORD
from mnist_jax.config.identity import (
    completed,
    differences,
    identity,
    require_same,
    same_run_key,
    shareable,
)
from mnist_jax.system.errors import UserError


def recorded() -> dict:
    """The default config as run.json has it."""
    return json.loads(json.dumps(default.get_config().to_dict()))


def test_paths_and_wandb_do_not_make_another_run():
    old, new = default.get_config(), default.get_config()
    new.data.data_dir = "/elsewhere"
    new.profile = 20
    new.wandb.name = "another"
    assert differences(old.to_dict(), new.to_dict()) == {}
    assert same_run_key(old.to_dict()) == same_run_key(new.to_dict())
    new.train.epochs = 3
    assert differences(old.to_dict(), new.to_dict()) == {"train.epochs": (10, 3)}
    assert same_run_key(old.to_dict()) != same_run_key(new.to_dict())


def test_a_record_is_completed_with_the_fields_that_are_newer():
    old = copy.deepcopy(whole := recorded())
    for name, field in FIELDS.items():
        if field.earlier is not IN_EVERY_RECORD:
            group, _, key = name.rpartition(".")
            del (old[group] if group else old)[key]
            (whole[group] if group else whole)[key] = json.loads(json.dumps(field.earlier))
    del old["mesh"], old["population"]  # as in records from before these groups
    assert json.loads(json.dumps(completed(old))) == whole
    assert differences(old, whole) == {}
    assert same_run_key(old) == same_run_key(whole)
    whole["optimizer"]["skip_nonfinite"] = 3
    assert differences(old, whole) == {"optimizer.skip_nonfinite": (0, 3)}


def test_a_record_that_lacks_what_every_record_has_is_another_run():
    old = recorded()
    del old["train"]["epochs"]
    assert differences(old, recorded()) == {"train.epochs": (None, 10)}


def test_another_config_is_refused_with_the_fields_that_differ():
    old, new = default.get_config(), default.get_config()
    require_same(old.to_dict(), new.to_dict(), "runs/x")
    new.seed = 3
    new.data.test = "x" * 300
    with pytest.raises(UserError) as caught:
        require_same(old.to_dict(), new.to_dict(), "runs/x")
    assert str(caught.value) == (
        "runs/x holds a run of another config "
        f"(config.data.test was 'test', now '{'x' * 59}..., config.seed was 0, now 3); "
        "use another --workdir or --resume=force"
    )
    new.data.name, new.train.epochs, new.train.steps, new.model.depth = "digits", 3, 2, 1
    with pytest.raises(UserError, match=r"\(config.data.name was 'mnist', .*, and 2 more fields\); use"):
        require_same(old.to_dict(), new.to_dict(), "runs/x")


def test_what_belongs_to_one_machine_or_account_is_not_shared():
    names = list(shareable(recorded()))
    assert sorted(names) == sorted(identity(FIELDS))
    assert not [name for name in names if name.startswith(("wandb.", "mesh.")) or name.endswith("dir")]
