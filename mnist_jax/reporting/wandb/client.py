"""A program that prints, as JSON, what W&B's own client reads in environment, settings and key files.

    python -m mnist_jax.reporting.wandb.client

Keys of the object: `mode`; `chosen`, whether the mode was set; `base_url`, the server; `has_key`, whether
there is a key for it; `problem`, why some keys are missing, without any values of settings.
"""

import json
import re
from typing import Any

import pydantic
from wandb.errors import AuthenticationError
from wandb.sdk import wandb_setup
from wandb.sdk.lib import wbauth

from mnist_jax.storage.git import without_credentials


def client_settings() -> dict[str, Any]:
    """The object that is printed."""
    answer: dict[str, Any] = {"problem": None}
    try:
        settings = wandb_setup.singleton().settings
        answer |= {"mode": settings.mode, "chosen": "mode" in settings.model_fields_set}
        answer["base_url"] = settings.base_url
        answer["has_key"] = has_credentials(without_credentials(settings.base_url))
    except pydantic.ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        name, why = ".".join(map(str, fault["loc"])), without_addresses(fault["msg"])
        answer["problem"] = f"its client refuses the setting {name}: {why}"
    except AuthenticationError as error:
        answer["problem"] = without_addresses(str(error).rstrip("."))
    except Exception as error:  # of any kind, from the files that the client reads
        answer["problem"] = f"its client cannot read its settings ({type(error).__name__})"
    return answer


def has_credentials(base_url: str) -> bool:
    """Whether the client finds a key for a server; no prompt, no request."""
    found = wbauth.authenticate_session(host=base_url, source="", prompt=False, update_session=False)
    return found is not None


def without_addresses(text: str) -> str:
    """A message whose addresses are replaced, since they may have passwords."""
    return re.sub(r"\S*://\S*", "(an address)", text)


if __name__ == "__main__":
    print(json.dumps(client_settings()))
