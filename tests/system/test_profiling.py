import gzip
import json

import pytest
from conftest import TINY, run_main

from mnist_jax.system.profiling import traced


def batches(chunks, chunk=1):
    return ((chunk * (number + 1), f"rows {number}") for number in range(chunks))


@pytest.fixture
def trace(monkeypatch):
    """What is asked of JAX's profiler."""
    calls = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda *_, **__: calls.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: calls.append("stop"))
    return calls


@pytest.mark.parametrize(
    ("chunks", "chunk", "steps", "begins", "ends"),
    [
        (20, 1, 3, 6, 9),  # the chunk after the last of the three, which fetches that, is in it
        (20, 10, 15, 60, 80),
        (7, 1, 100, 6, 7),  # the run ends before
        (20, 1, 0, None, None),
    ],
)
def test_the_trace_is_of_whole_chunks_that_are_done(trace, tmp_path, chunks, chunk, steps, begins, ends):
    seen = []
    given = traced(batches(chunks, chunk), tmp_path, steps, seen.append)
    states = [(step, rows, list(trace)) for step, rows in given]
    assert [(step, rows) for step, rows, _ in states] == list(batches(chunks, chunk))
    within = [step for step, _, calls in states if calls == ["start"]]
    assert (within[0], within[-1]) == (begins, ends) if steps else not within
    assert trace == (["start", "stop"] if steps else [])


def test_a_run_that_ends_before_says_that_nothing_was_traced(trace, tmp_path):
    said = []
    assert len(list(traced(batches(5), tmp_path, 3, said.append))) == 5
    assert not trace
    assert said == ["no trace: at most 5 chunks of steps remained"]


def test_a_run_that_is_stopped_ends_the_trace(trace, tmp_path):
    given = traced(batches(20), tmp_path, 10, print)
    for _ in range(8):
        next(given)
    given.close()
    assert trace == ["start", "stop"]


def test_a_traced_run_comes_to_the_same_bits_and_tells_what_it_took(tiny_run, tmp_path):
    done = run_main(*TINY, f"--workdir={tmp_path}", "--config.profile=4")
    assert f"trace of the steps from 6 on: {tmp_path / 'profile'}" in done.stdout
    (path,) = tmp_path.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert [int(e["args"]["step_num"]) for e in events if e.get("name") == "train"] == [6, 7, 8, 9, 10]
    record, untraced = (json.loads((folder / "run.json").read_text()) for folder in (tmp_path, tiny_run))
    assert record["params_sha256"] == untraced["params_sha256"]

    resources, batch_size = record["resources"], record["config"]["train"]["batch_size"]
    assert 0 < resources["compile_seconds"] < record["wall_seconds"]
    assert 100e6 < resources["host_peak_bytes"] < record["environment"]["memory_bytes"]
    assert resources["device_peak_bytes"] is None  # a CPU does not tell
    # Products alone, without those of the padding: 3 x 3 from 8 x 8 pixels, and from 4 x 4.
    first, second, dense = (3 * 8 - 2) ** 2 * 8, (3 * 4 - 2) ** 2 * 8 * 8, 2 * 2 * 8 * 16 + 16 * 10
    products = 2 * batch_size * (2 * first + 3 * second + 3 * dense)
    assert products < resources["flops_per_step"] < 1.5 * products
