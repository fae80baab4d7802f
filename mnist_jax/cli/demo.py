"""Serves a page to try the model of a run: draw a digit or drop an image.

    mnist-jax demo --workdir=runs/mnist

Ctrl-C ends it.
Exit status: 0 ended; 2 an error in the command.
"""

import signal

from mnist_jax.cli.parsing import Options, Parser, integer


def add_flags(parser: Parser) -> None:
    parser.add_run()
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, only this machine",
    )
    parser.add_argument(
        "--port", type=integer(0), default=8000, help="port; 0: any free port; default: %(default)s"
    )


def run(options: Options) -> None:
    from mnist_jax.serving.classifier import load_classifier
    from mnist_jax.serving.demo import serve

    classifier = load_classifier(options.workdir, step=options.checkpoint)
    with serve(classifier, options.host, options.port) as server:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            print(f"http://{options.host}:{server.server_port}  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()
