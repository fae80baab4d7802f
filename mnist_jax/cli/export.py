"""Writes the model of a run as files that need no mnist_jax.

    mnist-jax export --workdir=runs/mnist

It writes model.stablehlo, from uint8 images to probabilities, for jax.export on CPU, CUDA and TPU;
model.safetensors, the weights; config.json; and README.md, a model card with data, metrics and limits.
Exit status: 0 done; 2 an error in the command.
"""

from mnist_jax.cli.parsing import Options, Parser, path


def add_flags(parser: Parser) -> None:
    parser.add_run()
    parser.add_argument("--into", type=path, help="folder to write to; default: WORKDIR/export")


def run(options: Options) -> None:
    from mnist_jax.serving.export import export_model
    from mnist_jax.storage.record import read_record
    from mnist_jax.system.files import make_folder
    from mnist_jax.system.terminal import tell

    read_record(options.workdir)  # so that a folder without a run gets no export/
    into = options.into or make_folder(options.workdir / "export")
    for file in export_model(options.workdir, into, step=options.checkpoint):
        tell(f"{file}  {file.stat().st_size:,} bytes")
