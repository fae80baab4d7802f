import os
import subprocess
import sys

import jax
import pytest
from conftest import TINY, run_main

from mnist_jax.system import devices
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

PROGRAM = "from mnist_jax.system import devices; devices.prepare_host(); print(devices.compiler_options())"


def options_of(**environment):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_what_the_user_set_is_left_alone():
    assert options_of() == str(devices.compiler_options())
    assert options_of(XLA_FLAGS="--xla_cpu_experimental_ynn_fusion_type=") == "{}"


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setitem(devices._COMPILER_OPTIONS, jax.default_backend(), {"xla_no_such_option": ""})
    assert devices.compiler_options.__wrapped__() == {}


def test_a_gpu_is_told_to_be_deterministic_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(devices, "compiler_options", devices.compiler_options.__wrapped__)  # not remembered
    options = devices.compiler_options()  # which the compiler knows on any machine
    assert options == {"xla_gpu_deterministic_ops": True}
    assert devices.options_of_what_runs_once() == options
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
    assert devices.compiler_options() == {}


def test_the_user_chooses_the_steps_of_a_call():
    assert devices.steps_per_call(7) == 7
    assert devices.steps_per_call(0) == 1


@pytest.mark.parametrize(("nbytes", "fits"), [(1, True), (1 << 60, False)])
def test_what_fits_on_the_device(nbytes, fits):
    assert devices.fits_on_device(nbytes) is fits


@pytest.mark.skipif(devices.describe_devices()["platform"] != "cpu", reason="this machine has an accelerator")
@pytest.mark.parametrize("platforms", ["cuda,cpu", "cuda", "tpu"])
def test_an_accelerator_that_was_asked_for_and_does_not_start_is_told(tmp_path, platforms):
    done = run_main(*TINY, f"--workdir={tmp_path / 'run'}", env={**os.environ, "JAX_PLATFORMS": platforms})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "main.py: JAX_PLATFORMS must name a platform that JAX can use here (got"
    )
    assert not (tmp_path / "run" / "run.json").exists()


def test_options_of_jax_that_change_the_numbers_are_recorded_where_they_are_set():
    assert "jax_options" not in devices.describe_devices()
    program = "from mnist_jax.system.devices import describe_devices as say; print(say()['jax_options'])"
    environment = {"JAX_THREEFRY_PARTITIONABLE": "0", "JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_LOG_COMPILES": "0"}
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert said == "{'jax_default_prng_impl': 'rbg', 'jax_threefry_partitionable': False}"


def test_64_bits_are_refused():
    jax.config.update("jax_enable_x64", True)
    try:
        with pytest.raises(UserError, match="^JAX_ENABLE_X64 must be off"):
            devices.prepare_host()
    finally:
        jax.config.update("jax_enable_x64", False)
