"""Downloads finished runs of a W&B project, by W&B's public API."""

import pathlib
from collections.abc import Callable

import wandb

from mnist_jax.reporting.wandb.log import NEEDED_TO_COMPARE
from mnist_jax.reporting.wandb.mode import ask_client, wandb_environment
from mnist_jax.storage.git import without_credentials
from mnist_jax.system.errors import UserError


def download_runs(project: str, into: pathlib.Path, warn: Callable[[str], None]) -> list[pathlib.Path]:
    """Downloads the finished runs of a project, each to a folder that can be compared.

    Args:
      project: "entity/project".
      into: the folder for these folders.
      warn: prints a line, about each run without the files that are needed, such as one of another program.

    Returns:
      the folders.

    Raises:
      UserError: there is no key, no such project, or the server cannot be reached.
    """
    environment = wandb_environment()
    client = ask_client(environment)
    if client.problem or not client.has_key:  # the client would prompt for one
        hint = "set WANDB_API_KEY in the environment or in .env, or run `wandb login`"
        raise UserError(f"--wandb needs an API key of W&B: {client.problem or hint}")
    try:
        api = wandb.Api(
            overrides={"base_url": without_credentials(client.base_url)},
            api_key=environment.get("WANDB_API_KEY"),
            timeout=30,
        )
        runs = list(api.runs(project, filters={"state": "finished"}))
        folders = []
        for run in runs:
            folder = into / run.id / run.name.replace("/", "_")
            present = {file.name: file for file in run.files(NEEDED_TO_COMPARE)}
            if missing := [name for name in NEEDED_TO_COMPARE if name not in present]:
                warn(f"{run.name} of {project} is ignored: it has no {missing[0]}")
                continue
            for file in present.values():
                file.download(root=str(folder), replace=True)
            folders.append(folder)
        return folders
    except Exception as error:  # the client and its libraries raise many types
        raise UserError(f"--wandb={project} cannot be read: {type(error).__name__}: {error}") from error
