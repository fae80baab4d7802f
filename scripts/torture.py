"""Does to whole runs what can happen to them, and sees whether they still come to the same bits.

    python scripts/torture.py kills --cases=100
    python scripts/torture.py signals --cases=30
    python scripts/torture.py damage --cases=100
    python scripts/torture.py disk --cases=20
    python scripts/torture.py long --minutes=60

kills: SIGKILL at random moments, some with empty caches, some again and again, then the same command to its
end. signals: SIGTERM, SIGINT, SIGINT twice, SIGHUP, a terminal and a pipe that close. damage: a byte of a
file in the workdir or the caches is changed, or the file cut off, emptied or removed, in the middle of a run
or after it. disk: the workdir or the caches are on a disk that is too small, and later is not; it needs root,
to mount a tmpfs. long: one run for so many minutes, whose memory, open files and disk must not grow.

What comes out has to be what an undisturbed run gave: parameters to the bit, metrics, every step once in the
history, and no file beside those of that run; what cannot go on has to end with one line. --seed repeats the
same cases but for the moments, in which the machine has a part. Other flags, such as
--config.train.steps=100, go to main.py.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import pty
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from rich.console import Console
from rich.table import Table

from mnist_jax.errors import UserError
from mnist_jax.history import read_metrics
from mnist_jax.predictions import load_predictions
from mnist_jax.workdir import read_record

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLOWEST = 300  # seconds that a run may take


class Ended(NamedTuple):
    """How a command ended, and what it said on standard error."""

    status: int
    said: str


class Place(NamedTuple):
    """Where a run writes: its workdir, its caches of data and compiled programs, and sets it prepares."""

    workdir: pathlib.Path
    caches: pathlib.Path
    prepares: bool = False

    def environment(self) -> dict[str, str]:
        sets = {"TFDS_DATA_DIR": str(self.caches / "tfds")} if self.prepares else {}
        return {**os.environ, "XDG_CACHE_HOME": str(self.caches), **sets}


class Rig:
    """Starts runs of one config, and knows what they have to come to."""

    def __init__(self, flags: list[str], folder: pathlib.Path):
        self.flags, self.folder, self._number = flags, folder, 0
        self.warm = folder / "caches"
        self.reference = self.place()
        self.run(self.reference)  # fills the caches
        started = time.monotonic()
        self.reference = self.place()
        ended = self.run(self.reference)
        if ended.status:
            raise UserError(f"an undisturbed run ends with status {ended.status}: {ended.said}")
        self.seconds = time.monotonic() - started

    def place(self, *, cold: bool = False) -> Place:
        """A place that no run was at; cold: with empty caches, and no set prepared that can be."""
        self._number += 1
        workdir = self.folder / f"run-{self._number}"
        caches = self.folder / f"caches-{self._number}" if cold else self.warm
        caches.mkdir(exist_ok=True)
        return Place(workdir, caches, cold and any("manual_dir" in flag for flag in self.flags))

    def start(self, place: Place, more: Sequence[str] = (), **given) -> subprocess.Popen:
        given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **given}
        command = [sys.executable, "main.py", *self.flags, f"--workdir={place.workdir}", *more]
        return subprocess.Popen(
            command, cwd=ROOT, env=place.environment(), text=True, start_new_session=True, **given
        )

    def run(self, place: Place) -> Ended:
        """The same command, to its end."""
        return end(self.start(place))

    def wrong(self, place: Place, ended: Ended) -> list[str]:
        """What differs from an undisturbed run."""
        if ended.status:
            return [f"status {ended.status}: {ended.said}"]
        found = [f"printed a traceback: {ended.said}"] if "Traceback" in ended.said else []
        try:
            record, other = (read_record(one.workdir) for one in (place, self.reference))
        except UserError as error:
            return [*found, str(error)]
        found += [
            f"{key} is {str(record.get(key))[:80]}, not {str(other.get(key))[:80]}"
            for key in ("status", "params_sha256", "metrics", "best", "steps")
            if record.get(key) != other.get(key)
        ]
        rows, others = (read_metrics(one.workdir / "metrics.jsonl") for one in (place, self.reference))
        evaluated, expected = ([row for row in these if row["split"] != "train"] for these in (rows, others))
        if evaluated != expected:
            found.append("the history has other evaluations")
        reached = 0
        for row in rows:
            if row["split"] == "train":
                reached += row["steps"]
                if reached != row["step"]:
                    found.append(f"the history has steps twice or not at all before {row['step']}")
                    break
        if reached != record["steps"]:
            found.append(f"the history ends at {reached}, not at {record['steps']}")
        found += [f"left {name}" for name in sorted(strays(place) - strays(self.reference))]
        found += [f"lacks {name}" for name in sorted(kept(self.reference) - kept(place))]
        if not found:
            (_, said), (_, expected) = (
                load_predictions(one.workdir / "predictions.npz") for one in (place, self.reference)
            )
            if not all(map(np.array_equal, said, expected)):
                found.append("predictions.npz has other predictions")
        return found

    def evaluates_otherwise(self, place: Place, ended: Ended) -> list[str]:
        """What differs from the undisturbed run's metrics where its best checkpoint was evaluated again."""
        if ended.status or "Traceback" in ended.said:
            return [f"status {ended.status}: {ended.said}"]
        (path,) = place.workdir.glob("evaluation-*.json")
        found = json.loads(path.read_text())["metrics"]
        expected = read_record(self.reference.workdir)["metrics"]["test"]
        return [f"test {key} is {found[key]}" for key in ("accuracy", "loss") if found[key] != expected[key]]

    def clear(self, place: Place) -> None:
        shutil.rmtree(place.workdir, ignore_errors=True)
        if place.caches != self.warm:
            shutil.rmtree(place.caches, ignore_errors=True)


def end(process: subprocess.Popen) -> Ended:
    try:
        said = process.communicate(timeout=SLOWEST)[1] or ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Ended(-1, f"did not end within {SLOWEST} s: {process.communicate()[1]}")
    return Ended(process.returncode, said)


def kept(place: Place) -> set[str]:
    """What a finished run leaves: files and folders of its workdir, and its last and best checkpoint."""
    record = read_record(place.workdir)
    steps = {record["steps"], record["best"]["step"]}
    found = {path.name for path in place.workdir.iterdir() if path.suffix != ".patch"}
    return found | {
        f"checkpoints/{step}" for step in steps if (place.workdir / "checkpoints" / str(step)).is_dir()
    }


def strays(place: Place) -> set[str]:
    """What is no part of a workdir or cache: other names, and what was begun and never came to its end."""
    checkpoints = {path.name for path in place.workdir.glob("checkpoints/*")}
    half_saved = {f"checkpoints/{name}" for name in checkpoints if not name.isdigit()}
    top = {path.name for path in place.workdir.iterdir() if path.suffix != ".patch"}
    return top | half_saved | unfinished(place.caches)


def unfinished(caches: pathlib.Path) -> set[str]:
    """What was begun in the caches and never came to its end."""
    ends = ("*.partial", "*.building", "*incomplete*", ".preparing", "*tmp*")
    return {str(path.relative_to(caches)) for end in ends for path in caches.rglob(end)}


Case = tuple[str, list[str]]  # its kind, and what was wrong


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
    kinds: dict[str, tuple[tuple[int, ...], set[int]]] = {
        "SIGTERM": ((signal.SIGTERM,), {143}),
        "SIGINT": ((signal.SIGINT,), {130}),
        "SIGINT twice": ((signal.SIGINT, signal.SIGINT), {130}),
        "SIGHUP": ((signal.SIGHUP,), {129}),
        "the terminal closes": ((), {129}),
        "the pipe closes": ((), {0}),
    }
    for number in range(cases):
        kind = list(kinds)[number % len(kinds)]
        sent, statuses = kinds[kind]
        place, moment = rig.place(), rng.uniform(0.5, rig.seconds)
        if kind == "the terminal closes":
            status = _in_terminal(rig, place, moment)
            said = ""
        else:
            process = rig.start(place, stdout=subprocess.PIPE)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            if kind == "the pipe closes":
                process.stdout.close()
                process.stdout = None
            for signum in sent:
                process.send_signal(signum)
                time.sleep(0.7 if len(sent) > 1 else 0)
            status, said = end(process)
        begun = (place.workdir / "run.json").exists()
        state = read_record(place.workdir) if begun else {}
        if status in statuses and status:  # the step in flight was saved, once training had begun
            saved = not state.get("steps") or (place.workdir / "checkpoints" / str(state["steps"])).is_dir()
            found = (
                []
                if not begun or (state["status"] == "interrupted" and saved)
                else ["its step was not saved"]
            )
        elif status == 0:  # at its end there is nothing to stop
            late = moment > 0.6 * rig.seconds or kind == "the pipe closes"
            found = [] if late else ["it was not stopped"]
        else:  # before Python listens a signal ends it by itself
            by_itself = not begun and -status in (*sent, signal.SIGHUP)
            found = [] if by_itself else [f"status {status}: {said}"]
        if "Traceback" in said:
            found.append(f"printed a traceback: {said}")
        yield kind, found + rig.wrong(place, rig.run(place))
        rig.clear(place)


def _in_terminal(rig: Rig, place: Place, moment: float) -> int:
    """The status of a run whose terminal closes after some seconds."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        command = [sys.executable, "main.py", *rig.flags, f"--workdir={place.workdir}"]
        os.execvpe(sys.executable, command, place.environment())
    until = time.monotonic() + moment
    os.set_blocking(terminal, False)
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            os.read(terminal, 1 << 16)
        time.sleep(0.02)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
        place = rig.place(cold=True)
        place = place._replace(prepares=False)
        shutil.rmtree(place.caches)
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
        ended = end(rig.start(place, more=("--mode=evaluate",) if finished else ()))
        # What there is one of can be refused; what can be made anew, or has another before it, cannot.
        only_one = path.name == "run.json" or (finished and where != "caches" and "checkpoints" in path.parts)
        told = (
            only_one and ended.status == 2 and ended.said.count("\n") <= 2 and "Traceback" not in ended.said
        )
        if told:
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


def disk(rig: Rig, rng: random.Random, cases: int) -> Iterator[Case]:
    if os.geteuid():
        raise UserError("torture.py disk mounts small disks, which needs root")
    for number in range(cases):
        small = ("the workdir's", "the caches'")[number % 2]
        place = rig.place(cold=small == "the caches'")
        mounted = place.workdir if small == "the workdir's" else place.caches
        needed = sum(
            p.stat().st_size for p in (rig.reference.workdir if number % 2 == 0 else rig.warm).rglob("*")
        )
        size = rng.randrange(1, max(2, needed // 4096)) * 4096
        mounted.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mounted], check=True)
        try:
            ended = rig.run(place)
            found = (
                [f"printed a traceback on {size:,} bytes: {ended.said}"] if "Traceback" in ended.said else []
            )
            if ended.status not in (0, 2) or (
                ended.status and not ended.said.splitlines()[-1:][0].startswith("main.py: ")
            ):
                found.append(f"did not end with a line on {size:,} bytes: {ended.status}, {ended.said}")
            subprocess.run(["mount", "-o", "remount,size=4g", mounted], check=True)
            how = "ended" if ended.status else "went on"
            yield f"{small} disk is full, {how}", found + rig.wrong(place, rig.run(place))
        finally:
            subprocess.run(["umount", "--lazy", mounted], check=True)
        rig.clear(place)


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
    "kills": kills, "signals": signals, "damage": damage, "disk": disk, "long": long,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(PARTS))
    parser.add_argument("--cases", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=60, help="of long; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--config", default="configs/digits.py", help="default: %(default)s")
    arguments, flags = parser.parse_known_args()
    flags = [f"--config={arguments.config}", *flags]
    if not any("wandb.mode" in flag for flag in flags):
        flags.append("--config.wandb.mode=disabled")
    counts: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    out = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        try:
            rig = Rig(flags, pathlib.Path(folder))
            limits = {"minutes": arguments.minutes} if arguments.what == "long" else {
                "rng": random.Random(arguments.seed), "cases": arguments.cases,
            }  # fmt: skip
            for number, (kind, wrong) in enumerate(PARTS[arguments.what](rig, **limits)):
                counts[kind] += 1
                for one in wrong:
                    failures.append(f"case {number}, {kind}: {' '.join(one.split())[:600]}")
                    out.print(failures[-1], markup=False, highlight=False, soft_wrap=True)
        except UserError as error:
            print(f"torture.py: {error}", file=sys.stderr)
            return 2
    table = Table("case", "tried", title=f"{arguments.what}, seed {arguments.seed}", title_style="bold")
    for kind, count in sorted(counts.items()):
        table.add_row(kind, str(count))
    out.print(table)
    out.print(f"{len(failures)} wrong" if failures else "nothing wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
