import copy
import json

import pytest

from configs import default
from mnist_jax.config import identity
from mnist_jax.config.fields import FIELDS
from mnist_jax.system.errors import UserError


def test_differences_leave_out_where_things_lie():
    old, new = default.get_config(), default.get_config()
    new.data.data_dir = "/elsewhere"
    new.profile = 20
    assert identity.differences(old.to_dict(), new.to_dict()) == {}
    new.train.epochs = 3
    assert identity.differences(old.to_dict(), new.to_dict()) == {"train.epochs": (10, 3)}


def test_a_record_that_lacks_a_field_had_its_default():
    whole = json.loads(json.dumps(default.get_config().to_dict()))
    earlier = copy.deepcopy(whole)
    del earlier["population"], earlier["profile"], earlier["optimizer"]["skip_nonfinite"]
    assert identity.differences(earlier, whole) == {}
    assert identity.same_run_key(earlier) == identity.same_run_key(whole)
    whole["optimizer"]["skip_nonfinite"] = 3
    assert identity.differences(earlier, whole) == {"optimizer.skip_nonfinite": (0, 3)}


def test_another_config_is_refused_with_its_fields():
    old, new = default.get_config(), default.get_config()
    new.seed = 3
    identity.require_same(old.to_dict(), old.to_dict(), "runs/x")
    with pytest.raises(
        UserError, match=r"another config \(config.seed was 0, now 3\); give another --workdir"
    ):
        identity.require_same(old.to_dict(), new.to_dict(), "runs/x")


def test_what_says_where_things_are_is_not_shared():
    shared = identity.shareable(default.get_config().to_dict())
    assert shared.keys() == {name for name, field in FIELDS.items() if field.identifies}
    assert not [name for name in shared if name.startswith("wandb.") or name.endswith("dir")]
