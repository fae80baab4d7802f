import json

import pytest
from benchmark import results

from mnist_jax.system.errors import UserError


def entry(command="python scripts/benchmark startup", cpu="AMD EPYC", kind="cpu", jaxlib="0.10.2", **rest):
    accelerator = {"platform": kind, "kind": kind, "count": 1}
    machine = {"cpu": cpu, "cores": 2, "accelerator": accelerator, "versions": {"jaxlib": jaxlib}}
    return {"command": command, "machine": machine, **rest}


def test_a_result_replaces_that_of_the_same_command_machine_and_jaxlib_where_it_stands(tmp_path):
    path = tmp_path / "found.json"
    results.save(path, entry(date="2026-01-01"))
    results.save(path, entry(command="python scripts/benchmark tracking"))
    results.save(path, entry(date="2026-02-02"))
    assert [(one["command"].split()[-1], one.get("date")) for one in json.loads(path.read_text())] == [
        ("startup", "2026-02-02"),
        ("tracking", None),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"command": "python scripts/benchmark startup --repeats=2"},
        {"cpu": "another"},
        {"kind": "NVIDIA H200"},
        {"jaxlib": "0.12.0"},
    ],
    ids=str,
)
def test_a_result_of_another_command_machine_or_jaxlib_is_added(tmp_path, other):
    path = tmp_path / "found.json"
    results.save(path, entry())
    results.save(path, entry(**other))
    assert results.read(path) == [entry(), entry(**other)]


def test_a_command_names_kind_config_and_changed_fields():
    flags = "--config=configs/mnist_fast.py --repeats=3 --config.train.epochs=1 --config.dtype=bfloat16"
    one = entry(command=f"python scripts/benchmark accuracy {flags}")
    assert results.kind(one) == "accuracy"
    assert results.config_of(one) == ("mnist_fast", ["train.epochs=1", "dtype=bfloat16"])
    assert results.config_of(entry()) == ("digits", [])


def test_a_file_that_is_no_result_is_an_error(tmp_path):
    with pytest.raises(UserError, match="must be a file that --save wrote"):
        results.read(tmp_path / "none.json")
    path = tmp_path / "found.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"must be a list of results \(got a dict\)"):
        results.read(path)
