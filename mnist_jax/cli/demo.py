"""Serves a page on this machine to try a run's model: draw a digit or drop an image, and see what it thinks.

    python scripts/demo.py --workdir=runs/mnist

Ctrl-C ends it. Exit status: 0 ended; 2 a mistake in the command.
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
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; default: this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="0 for any; default: %(default)s")
    arguments = parser.parse_args()
    terminal.quiet_libraries()
    return command_line.run(lambda: demo(arguments))


def demo(arguments: argparse.Namespace) -> None:
    from mnist_jax.serving.classifier import load_classifier
    from mnist_jax.serving.demo import serve

    classifier = load_classifier(arguments.workdir, step=arguments.checkpoint)
    with serve(classifier, arguments.host, arguments.port) as server:
        try:
            print(f"http://{arguments.host}:{server.server_port}  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    sys.exit(main())
