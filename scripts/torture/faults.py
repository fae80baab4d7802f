"""What can happen to a run, done to it at random; scripts/torture tells what each is."""

import contextlib
import datetime
import os
import pathlib
import pty
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from torture.disks import disk, stalls
from torture.rig import ROOT, Case, Ended, Place, Rig, end

from mnist_jax.storage.history import read_metrics
from mnist_jax.storage.record import read_record
from mnist_jax.system.errors import UserError

_SIGNALS: dict[str, tuple[tuple[int, ...], int]] = {  # what is sent, and the status that a run then ends with
    "SIGTERM": ((signal.SIGTERM,), 143),
    "SIGINT": ((signal.SIGINT,), 130),
    "SIGINT twice": ((signal.SIGINT, signal.SIGINT), 130),
    "SIGHUP": ((signal.SIGHUP,), 129),
    "the terminal closes": ((), 129),
    "the pipe closes": ((), 0),
}


def kills(rig: Rig, rng: random.Random, cases: int) -> Iterator[Case]:
    cold_seconds = None
    for _ in range(cases):
        cold = rng.random() < 0.2
        if cold and cold_seconds is None:
            started = time.monotonic()
            rig.run(rig.place(cold=True))
            cold_seconds = time.monotonic() - started
        place, count = rig.place(cold=cold), 0
        while count == 0 or (rng.random() < 0.4 and count < 4):
            process = rig.start(place)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, (cold_seconds if cold else None) or rig.seconds))
            # With its children, as in a container or batch job, or alone.
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            status, said = end(process)
            if status not in (0, -signal.SIGKILL) or "Traceback" in said:
                yield "before it was killed", [f"status {status}: {said}"]
            count += 1
        yield (
            f"killed {'with empty caches' if cold else 'with warm caches'}",
            rig.wrong(place, rig.run(place)),
        )
        rig.clear(place)


def signals(rig: Rig, rng: random.Random, cases: int) -> Iterator[Case]:
    for number in range(cases):
        kind = list(_SIGNALS)[number % len(_SIGNALS)]
        place, moment = rig.place(), rng.uniform(0.5, rig.seconds)
        stop = _in_terminal if kind == "the terminal closes" else _in_pipe
        sent = time.time() + moment
        ended = stop(rig, place, moment, kind)
        found = stopped_wrongly(kind, ended, place, late=_finished_by(place, sent + 5))
        yield kind, found + rig.wrong(place, rig.run(place))
        rig.clear(place)


def _in_pipe(rig: Rig, place: Place, moment: float, kind: str) -> Ended:
    """How a run ended that got a kind of signal after some seconds, or whose output was closed then."""
    process = rig.start(place, stdout=subprocess.PIPE)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    sent, _ = _SIGNALS[kind]
    if not sent and process.stdout:
        process.stdout.close()
        process.stdout = None
    for signum in sent:
        process.send_signal(signum)
        time.sleep(0.7 if len(sent) > 1 else 0)
    return end(process)


def _finished_by(place: Place, moment: float) -> bool:
    """Whether a run had come to its end by a time, in seconds since 1970."""
    try:
        ended = read_record(place.workdir).get("ended")
    except UserError:
        return False
    return ended is not None and datetime.datetime.fromisoformat(ended).timestamp() <= moment


def stopped_wrongly(kind: str, ended: Ended, place: Place, *, late: bool) -> list[str]:
    """What is wrong with how a signal ended a run; late: it may have come when there was nothing to stop."""
    sent, expected = _SIGNALS[kind]
    begun = (place.workdir / "run.json").exists()
    if "Traceback" in ended.said:
        return [f"printed a traceback: {ended.said}"]
    if ended.status == 0:
        return [] if late or expected == 0 else ["it was not stopped"]
    if ended.status != expected:  # before Python listens, a signal ends it by itself
        by_itself = not begun and -ended.status in (*sent, signal.SIGHUP)
        return [] if by_itself else [f"status {ended.status}: {ended.said}"]
    if not begun:
        return []
    record = read_record(place.workdir)
    saved = not record.get("steps") or (place.workdir / "checkpoints" / str(record["steps"])).is_dir()
    return [] if record["status"] == "interrupted" and saved else ["the step in flight was not saved"]


def _in_terminal(rig: Rig, place: Place, moment: float, _: str) -> Ended:
    """How a run ended whose terminal closed after some seconds."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        command = rig.command(place)
        os.execvpe(command[0], command, place.environment())
    until = time.monotonic() + moment
    os.set_blocking(terminal, False)
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            os.read(terminal, 1 << 16)
        time.sleep(0.02)
    os.close(terminal)
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "")


def damage(rig: Rig, rng: random.Random, cases: int) -> Iterator[Case]:
    halfway = rig.place()
    process = rig.start(halfway)
    while sum(path.name.isdigit() for path in halfway.workdir.glob("checkpoints/*")) < 2:
        if process.poll() is not None:
            raise UserError("the run is too short to be damaged half-way; give it more evaluations")
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for _ in range(cases):
        source = rng.choice((halfway, rig.reference))
        place = rig.place()
        place = place._replace(caches=place.workdir.with_name(f"{place.workdir.name}-caches"))
        shutil.copytree(rig.warm, place.caches, symlinks=True)
        shutil.copytree(source.workdir, place.workdir, symlinks=True)
        where = rng.choice(("workdir", "checkpoints", "caches"))
        within = {
            "workdir": place.workdir,
            "checkpoints": place.workdir / "checkpoints",
            "caches": place.caches,
        }
        files = [path for path in sorted(within[where].rglob("*")) if path.is_file() and path.name != ".lock"]
        path = rng.choice(files)
        name = f"{path.relative_to(within[where].parent)} {_damage(path, rng)}"
        finished = source is rig.reference
        ended = end(rig.start(place, *(("--mode=evaluate",) if finished else ())))
        # What there is one of can be refused; what can be made anew, or has another before it, cannot.
        only_one = path.name == "run.json" or (finished and where != "caches" and "checkpoints" in path.parts)
        told = (
            only_one and ended.status == 2 and ended.said.count("\n") <= 2 and "Traceback" not in ended.said
        )
        if told or (finished and "the one before is taken" in ended.said):  # whose best may be another
            found = []
        elif finished:
            found = rig.evaluates_otherwise(place, ended)
        else:
            found = [one for one in rig.wrong(place, ended) if not one.startswith("left ")]
            if "rows up to step" in ended.said:  # the history is damaged, and that was told
                found = [one for one in found if not one.startswith("the history")]
        kind = f"{where}, {'evaluated again' if finished else 'gone on with'}"
        yield f"{kind}, {'refused' if told else 'right'}", [f"{name}: {one}" for one in found]
        rig.clear(place)


def _damage(path: pathlib.Path, rng: random.Random) -> str:
    """Damages a file, and tells how."""
    content = bytearray(path.read_bytes())
    done = rng.choice(("flipped", "flipped", "cut off", "emptied", "removed")) if content else "removed"
    if done == "removed":
        path.unlink()
        return done
    place = rng.randrange(len(content))
    if done == "flipped":
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content if done == "flipped" else content[:place] if done == "cut off" else b"")
    return f"{done} at {place} of {len(content)}"


def long(rig: Rig, minutes: float) -> Iterator[Case]:
    steps = int(60 * minutes * 1000)  # more than it comes to
    rig.flags += [f"--config.train.steps={steps}", "--config.schedule.name=constant"]
    place = rig.place()
    process = rig.start(place)
    samples, until = [], time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        time.sleep(min(10, max(0, until - time.monotonic())))
        if process.poll() is not None:
            yield "long run", [f"ended with status {process.returncode}: {process.communicate()[1]}"]
            return
        rows = read_metrics(place.workdir / "metrics.jsonl")
        samples.append((rows[-1]["step"] if rows else 0, *_held(process.pid, place.workdir)))
    process.send_signal(signal.SIGTERM)
    ended = end(process)
    half = samples[len(samples) // 2]
    console = Console(width=100)
    for name, column in (("memory, bytes", 1), ("open files", 2), ("disk beside the history, bytes", 3)):
        values = [sample[column] for sample in samples]
        console.print(
            f"{name}: {half[column]:,} half-way, {values[-1]:,} at the end, at most {max(values):,}"
        )
    console.print(f"{samples[-1][0]:,} steps")
    grown = [
        f"{name} grew from {half[column]:,} to {samples[-1][column]:,} in the second half"
        for name, column, allowed in (("memory", 1, 1.05), ("open files", 2, 1), ("disk", 3, 1.2))
        if samples[-1][column] > half[column] * allowed
    ]
    yield "long run", grown + ([] if ended.status == 143 else [f"status {ended.status}: {ended.said}"])


def _held(pid: int, workdir: pathlib.Path) -> tuple[int, int, int]:
    """Resident bytes and open files of a process, and bytes of its workdir but for the growing history."""
    resident = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    used = 0
    for path in workdir.rglob("*"):
        if path.is_file() and path.name != "metrics.jsonl" and "wandb" not in path.parts:
            with contextlib.suppress(OSError):
                used += path.stat().st_size
    return resident, len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())), used


PARTS: dict[str, Callable[..., Iterator[Case]]] = {
    "kills": kills, "signals": signals, "damage": damage, "disk": disk,
    "stalls": stalls, "long": long,
}  # fmt: skip
