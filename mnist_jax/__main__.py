"""`python -m mnist_jax COMMAND`, the same as `mnist-jax COMMAND`."""

import sys

from mnist_jax.cli.commands import main

if __name__ == "__main__":
    sys.argv[:1] = ["-m", "mnist_jax"]  # run.json records the arguments of Python
    sys.exit(main())
