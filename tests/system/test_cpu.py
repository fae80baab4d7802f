import pathlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models import layers
from mnist_jax.system import cpu, onednn


@pytest.fixture
def machine(monkeypatch):
    """A machine on which oneDNN serves bfloat16; a test takes away what it is about."""
    monkeypatch.setattr(cpu, "active", lambda: True)
    monkeypatch.setattr(cpu, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(onednn, "works", lambda: True)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu, "why_no_onednn", cpu.why_no_onednn.__wrapped__)  # not remembered
    return monkeypatch


def test_onednn_serves_bfloat16_alone_and_says_so_in_the_record(machine):
    x = jnp.ones((2, 4, 4, 8))
    assert cpu.takes_onednn(x, jnp.dtype(jnp.bfloat16))
    assert not cpu.takes_onednn(x, jnp.dtype(jnp.float32))
    assert cpu.dtype_between(jnp.dtype(jnp.bfloat16)) == jnp.float32
    assert cpu.convolves_bfloat16_by("bfloat16") == "oneDNN"
    assert cpu.convolves_bfloat16_by("float32") is None
    assert cpu.notice("bfloat16") is None


@pytest.mark.parametrize(
    ("owner", "name", "value", "reason"),
    [
        (cpu, "active", lambda: False, "not on a CPU"),
        (cpu, "_multiplies_bfloat16", lambda: False, "neither AMX nor AVX512_BF16"),
        (jax, "device_count", lambda: 2, "several devices"),
        (onednn, "works", lambda: False, "jaxlib .* does not compute it"),
    ],
)
def test_one_thing_that_is_missing_makes_it_xlas(machine, owner, name, value, reason):
    machine.setattr(owner, name, value)
    assert not cpu.takes_onednn(jnp.ones((2, 4, 4, 8)), jnp.dtype(jnp.bfloat16))
    assert cpu.dtype_between(jnp.dtype(jnp.bfloat16)) == jnp.bfloat16
    with pytest.raises(AssertionError, match=f"XLA: .*{reason}"):
        raise AssertionError(cpu.convolves_bfloat16_by("bfloat16"))


def test_the_user_can_limit_onednn(machine):
    machine.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "environment" in cpu.why_no_onednn()


def test_a_run_in_bfloat16_without_it_has_a_notice(machine):
    machine.setattr(cpu, "_multiplies_bfloat16", lambda: False)
    assert "config.dtype is bfloat16" in cpu.notice("bfloat16")
    assert "neither AMX nor AVX512_BF16" in cpu.notice("bfloat16")
    assert cpu.notice("float32") is None
    machine.setattr(cpu, "active", lambda: False)
    assert cpu.notice("bfloat16") is None


@pytest.mark.rounding
@pytest.mark.parametrize("channels", [1, 8])
def test_without_onednn_a_convolution_rounds_its_result_once(monkeypatch, channels):
    monkeypatch.setattr(cpu, "why_no_onednn", lambda: "it is not there")
    x = jax.random.normal(jax.random.key(4), (2, 6, 6, channels), jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(5), (3, 3, channels, 16), jnp.bfloat16)
    y = layers.convolution(x, kernel, jnp.dtype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    x, kernel, y = (np.asarray(one, np.float64) for one in (x, kernel, y))
    expected, magnitude = convolved(x, kernel), convolved(abs(x), abs(kernel))
    terms = kernel[..., 0].size
    assert (abs(y - expected) <= 2**-8 * abs(expected) + terms * 2**-23 * magnitude).all()


def convolved(x, kernel):
    """In float64, with zeros around."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,ijcd->bhwd", windows, kernel)


@pytest.mark.parametrize(
    ("flags", "expected"), [("fma amx_bf16", True), ("avx512f avx512_bf16", True), ("fma avx512f", False)]
)
def test_the_processors_flags_say_whether_it_multiplies_bfloat16(monkeypatch, flags, expected):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda self: f"flags: {flags}")
    assert cpu._multiplies_bfloat16() is expected


@pytest.mark.skipif(not cpu.active(), reason="this machine has an accelerator")
def test_batches_have_parts_where_one_device_has_them_whole(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert [cpu.batch_parts(size) for size in (1, 31, 64, 128, 4096)] == [1, 1, 2, 4, 4]
    assert cpu.batch_parts(jax.export.symbolic_shape("b")[0]) == 1
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert cpu.batch_parts(128) == 1


@pytest.mark.rounding
def test_a_bias_and_its_gradient_are_exact_where_sums_of_integers_are():
    rng = np.random.default_rng(0)
    x, weights = (jnp.asarray(rng.integers(-8, 8, (3, 5, 4, 6)), jnp.float32) for _ in range(2))
    bias = jnp.arange(6.0)

    def total(add, bias):
        return (add(x, bias) * weights).sum()

    for add in (cpu.add_bias, jnp.add):
        np.testing.assert_array_equal(add(x, bias), np.asarray(x) + np.arange(6.0))
        gradient = jax.grad(total, argnums=1)(add, bias)
        np.testing.assert_array_equal(gradient, np.asarray(weights).sum((0, 1, 2)))
