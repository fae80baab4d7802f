"""What a run takes of the machine: a trace of some of its steps, compile time, arithmetic and memory."""

import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from mnist_jax.system import cpu

Chunk = TypeVar("Chunk")
_SETTLING = 5  # chunks before the trace: the first compile, the next fill the queue

_IMPORTED = time.perf_counter()
_compile_seconds = 0.0


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    global _compile_seconds
    if event == "/jax/core/compile/backend_compile_duration":
        _compile_seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


def compile_seconds() -> float:
    """What this process has spent so far on compiling, or on reading what was compiled before."""
    return _compile_seconds


def process_seconds() -> float:
    """Wall seconds since this process started; where the system does not tell, since this module came in."""
    try:
        after_name = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError):
        return time.perf_counter() - _IMPORTED


def traced(
    batches: Iterator[tuple[int, Chunk]], folder: pathlib.Path, steps: int, say: Callable[[str], None]
) -> Iterator[tuple[int, Chunk]]:
    """The batches of `feeding.training_rows`, and of the training on them a trace in a folder.

    steps: how many are traced at least, in whole chunks, once the first chunks are done; 0: none.
    https://docs.jax.dev/en/latest/profiling.html
    """
    if not steps:
        yield from batches
        return
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # each call of a function would slow the steps down
    before = begun = None  # steps taken before this chunk, and before the trace
    try:
        for number, (step, rows) in enumerate(batches):
            if number == _SETTLING:
                jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
                begun = before
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                yield step, rows
            # What was done with the chunk fetched the metrics of the one before it, which is done therefore.
            if begun is not None and before is not None and before - begun >= steps:
                break
            before = step
    finally:
        if begun is not None:
            jax.profiler.stop_trace()
    if begun is None:
        say(f"no steps were traced: there were no more than {_SETTLING} chunks of them left")
        return
    say(f"a trace of the steps from {begun + 1} on is in {folder}")
    yield from batches


def resources(step: jax.stages.Lowered, times: int) -> dict[str, Any]:
    """What this process took, as run.json has it.

    Args:
      step: the program of one step, for the arithmetic that XLA counts in it.
      times: how often it runs for a step of all models.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    flops = (step.cost_analysis() or {}).get("flops") if cpu.counts_all(step) else None
    unit = 1 if sys.platform == "darwin" else 1024  # of getrusage(2)
    return {
        "compile_seconds": _compile_seconds,
        "flops_per_step": flops and flops * times,
        "device_peak_bytes": max((one.get("peak_bytes_in_use") for one in stats), key=lambda b: b or 0),
        "host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }
