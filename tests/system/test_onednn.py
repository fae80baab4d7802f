"""oneDNN's convolutions against XLA's of the same rounded numbers."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.models import layers
from mnist_jax.system import cpu, onednn

pytestmark = pytest.mark.whole

sizes = st.integers(1, 9)
channels = st.integers(1, 40)


@pytest.fixture(scope="module")
def here():
    if not onednn.works():
        pytest.skip("this jaxlib or this CPU does not convolve bfloat16 by oneDNN")


@pytest.mark.rounding
@pytest.mark.usefixtures("here")
@given(sizes, sizes, sizes, channels, channels, st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=10)  # each is compiled
def test_values_and_gradients_are_those_of_rounded_numbers(batch, height, width, c, d, rows, columns, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, height, width, c)).astype(np.float32)
    kernel = rng.normal(size=(rows, columns, c, d)).astype(np.float32)
    gradient = rng.normal(size=(batch, height, width, d)).astype(np.float32)

    @jax.jit
    def found_and_expected(x, kernel, gradient):
        y, backward = jax.vjp(onednn.convolve, x, kernel)
        expected, backward_of_plain = jax.vjp(onednn._plain, onednn._rounded(x), onednn._rounded(kernel))
        return (y, *backward(gradient)), (expected, *backward_of_plain(onednn._rounded(gradient)))

    for one, other in zip(*found_and_expected(x, kernel, gradient), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1.0, float(jnp.abs(other).max())))


@pytest.mark.usefixtures("here")
def test_the_same_bits_each_time():
    keys = jax.random.split(jax.random.key(1), 3)
    x = jax.random.normal(keys[0], (128, 14, 14, 32))
    kernel = jax.random.normal(keys[1], (3, 3, 32, 64))
    weights = jax.random.normal(keys[2], (128, 14, 14, 64))
    gradients = jax.jit(jax.grad(lambda x, kernel: (onednn.convolve(x, kernel) * weights).sum(), (0, 1)))
    first = gradients(x, kernel)
    for _ in range(5):
        jax.tree.map(np.testing.assert_array_equal, gradients(x, kernel), first)


@pytest.mark.usefixtures("here")
def test_many_models_side_by_side():
    x = jax.random.normal(jax.random.key(2), (3, 2, 6, 6, 8))
    kernels = jax.random.normal(jax.random.key(3), (3, 3, 3, 8, 16))

    def loss(x, kernel):
        return (onednn.convolve(x, kernel) ** 2).sum()

    together = jax.vmap(jax.value_and_grad(loss, (0, 1)))(x, kernels)
    alone = [jax.value_and_grad(loss, (0, 1))(*given) for given in zip(x, kernels, strict=True)]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-3)
    jax.tree.map(close, together, jax.tree.map(lambda *each: jnp.stack(each), *alone))


@pytest.mark.usefixtures("here")
def test_a_program_with_it_is_left_out_of_the_compilation_cache_without_a_word(tmp_path: pathlib.Path):
    code = """if True:
        import jax, jax.numpy as jnp
        from mnist_jax.system import devices, onednn
        devices.prepare_host()
        @jax.jit
        def added(x):
            return x + 1
        @jax.jit
        def convolved(x, kernel):
            return onednn.convolve(x, kernel)
        added(jnp.ones(3))
        print(convolved(jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 8, 16)))[0, 1, 1, 0])
    """
    environment = {name: os.environ[name] for name in os.environ if name != "JAX_COMPILATION_CACHE_DIR"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.stdout, ran.stderr) == ("72.0\n", "")
    assert list(tmp_path.glob("**/*added*"))
    assert not list(tmp_path.glob("**/*convolved*"))


@pytest.mark.usefixtures("here")
def test_layers_take_it_for_bfloat16_alone_and_where_the_batch_is_known(monkeypatch):
    monkeypatch.setattr(cpu, "why_no_onednn", lambda: None)
    kernel = jnp.ones((3, 3, 8, 16))

    def program(dtype, shape):
        exported = jax.export.export(
            jax.jit(lambda x: layers.convolution(x, kernel, jnp.dtype(dtype))),
            disabled_checks=[jax.export.DisabledSafetyCheck.custom_call(onednn.TARGET)],
        )
        return exported(jax.ShapeDtypeStruct(shape, jnp.float32)).mlir_module()

    assert onednn.TARGET in program("bfloat16", (2, 4, 4, 8))
    assert onednn.TARGET not in program("float32", (2, 4, 4, 8))
    assert onednn.TARGET not in program("bfloat16", (*jax.export.symbolic_shape("batch"), 4, 4, 8))


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("raise SystemExit(0)", True),
        ("assert False", False),
        ("import os; os.abort()", False),  # as a jaxlib may that reads the calls differently
    ],
)
def test_each_jaxlib_is_tried_once_in_a_process_of_its_own(monkeypatch, tmp_path, program, answer):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onednn, "_PROBE", program)
    assert onednn.works() is answer
    monkeypatch.setattr(onednn, "_PROBE", "assert False" if answer else "raise SystemExit(0)")
    assert onednn.works() is answer  # kept
    monkeypatch.setattr(onednn.jaxlib, "__version__", "9.9")
    assert onednn.works() is not answer


def test_a_trial_that_hangs_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onednn, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(onednn, "_PROBE", "import time; time.sleep(60)")
    assert not onednn.works()
    assert not list(tmp_path.rglob("onednn-*"))


def test_a_jaxlib_without_the_call_does_not_pass(monkeypatch):
    monkeypatch.setattr(onednn, "TARGET", "no such call")
    jax.clear_caches()  # the call is traced again
    with pytest.raises(jax.errors.JaxRuntimeError):
        onednn.check()
