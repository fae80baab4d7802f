"""Writes a run's model as files that work without this program.

    python scripts/export.py --workdir=runs/mnist

model.stablehlo, from uint8 images to probabilities, which jax.export reads, on CPU, CUDA and TPU;
model.safetensors, the weights; config.json; README.md, a model card: data, metrics, intended use, limits.
Exit status: 0 done; 2 a mistake in the command.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mnist_jax.cli import command_line
from mnist_jax.system import terminal


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="the folder of the run")
    parser.add_argument("--checkpoint", type=int, help="its step; default: the best by validation")
    parser.add_argument("--into", type=pathlib.Path, help="the folder to write to; default: WORKDIR/export")
    arguments = parser.parse_args()
    terminal.quiet_libraries()
    return command_line.run(lambda: export(arguments))


def export(arguments: argparse.Namespace) -> None:
    from mnist_jax.serving.export import export_model

    into = arguments.into or arguments.workdir / "export"
    for path in export_model(arguments.workdir, into, step=arguments.checkpoint):
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
