"""Disks that fail a run: too small, or silent for seconds; scripts/torture tells what each is."""

import contextlib
import os
import pathlib
import random
import subprocess
import time
from collections.abc import Iterator

from torture.rig import Case, Rig, end

from mnist_jax.system.errors import UserError


def disk(rig: Rig, rng: random.Random, cases: int) -> Iterator[Case]:
    _require_root("disk")
    for number in range(cases):
        caches = number % 2 == 1
        place = rig.place(cold=caches)
        mounted, filled = (place.caches, rig.warm) if caches else (place.workdir, rig.reference.workdir)
        needed = sum(path.stat().st_size for path in filled.rglob("*"))
        size = rng.randrange(1, max(2, needed // 4096)) * 4096
        with _mounted("tmpfs", mounted, "-t", "tmpfs", "-o", f"size={size}"):
            ended = rig.run(place)
            last = (ended.said.splitlines() or [""])[-1]
            orderly = ended.status == 0 or (ended.status == 2 and last.startswith("main.py: "))
            found = []
            if not orderly or "Traceback" in ended.said:
                found.append(f"did not end with a line on {size:,} bytes: {ended.status}, {ended.said}")
            subprocess.run(["mount", "-o", "remount,size=4g", mounted], check=True)
            how = "ended" if ended.status else "went on"
            yield (
                f"{'caches' if caches else 'workdir'} on a full disk, {how}",
                found + rig.wrong(place, rig.run(place)),
            )
        rig.clear(place)


def stalls(rig: Rig, rng: random.Random, cases: int) -> Iterator[Case]:
    _require_root("stalls")
    image, mounted = rig.folder / "disk", rig.folder / "mounted"
    with image.open("wb") as file:
        file.truncate(1 << 30)  # takes no more than is written
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with _mounted(image, mounted, "-o", "loop,noatime"):
        for number in range(cases):
            caches = number % 2 == 1
            place = rig.place()._replace(workdir=mounted / "run")
            if caches:
                place = place._replace(caches=mounted / "caches")
                place.caches.mkdir()
            process = rig.start(place)
            until = time.monotonic() + 40 * rig.seconds
            while process.poll() is None and time.monotonic() < until:
                time.sleep(rng.uniform(0, rig.seconds / 4))
                try:
                    subprocess.run(["fsfreeze", "--freeze", mounted], check=True)
                    time.sleep(rng.uniform(0.1, 5))
                finally:  # it hangs for good what is not let go
                    subprocess.run(["fsfreeze", "--unfreeze", mounted])
            where = "workdir and caches" if caches else "workdir"
            yield f"{where} on a disk that stalls", rig.wrong(place, end(process))
            rig.clear(place)


def _require_root(part: str) -> None:
    if os.geteuid():
        raise UserError(f"torture {part} mounts disks, which needs root")


@contextlib.contextmanager
def _mounted(what: pathlib.Path | str, where: pathlib.Path, *options: str) -> Iterator[None]:
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, what, where], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)
