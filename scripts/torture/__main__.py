"""Does to whole runs what can happen to them, and sees whether they still come to the same bits.

    python scripts/torture kills --cases=100
    python scripts/torture signals --cases=30
    python scripts/torture damage --cases=100
    python scripts/torture disk --cases=20
    python scripts/torture stalls --cases=20
    python scripts/torture long --minutes=60

kills: SIGKILL at random moments, some with empty caches, some again and again, then the same command to its
end. signals: SIGTERM, SIGINT, SIGINT twice, SIGHUP, a terminal and a pipe that close. damage: a byte of a
file in the workdir or the caches is changed, or the file cut off, emptied or removed, in the middle of a run
or after it. disk: the workdir or the caches are on a disk that is too small, and later is not. stalls: they
are on a disk that does not answer for seconds, again and again. Both need root, to mount disks. long: one
run for so many minutes, whose memory, open files and disk must not grow.

What comes out has to be what an undisturbed run gave: parameters to the bit, metrics, every step once in the
history, and no file beside those of that run; what cannot go on has to end with one line. --seed repeats the
same cases but for the moments, in which the machine has a part. Other flags, such as
--config.train.steps=100, go to main.py.
"""

import argparse
import collections
import pathlib
import random
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table
from torture.faults import PARTS
from torture.rig import Rig

from mnist_jax.system.errors import UserError


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
            print(f"torture: {error}", file=sys.stderr)
            return 2
    table = Table("case", "tried", title=f"{arguments.what}, seed {arguments.seed}", title_style="bold")
    for kind, count in sorted(counts.items()):
        table.add_row(kind, str(count))
    out.print(table)
    out.print(f"{len(failures)} wrong" if failures else "nothing wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
