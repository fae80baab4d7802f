"""Exports the model of a run: a program that needs only JAX, the weights, and a model card."""

import functools
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from markupsafe import Markup

from mnist_jax.config.identity import shareable
from mnist_jax.reporting.templates import load_template
from mnist_jax.serving.classifier import Trained, load_trained
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular, write_whole
from mnist_jax.system.output import printable

PLATFORMS = ("cpu", "cuda", "tpu")


def export_model(
    workdir: pathlib.Path, folder: pathlib.Path, *, step: int | None = None
) -> list[pathlib.Path]:
    """Writes model.stablehlo, model.safetensors, config.json and the model card README.md into a folder.

    step: of the checkpoint; None for the best by validation so far.
    Returns: the files. Raises UserError: no run there, no such checkpoint, the folder cannot be written.
    """
    trained = load_trained(workdir, step=step)
    about = describe_model(
        trained, _test_metrics(workdir, trained), chosen=step in (None, _best(trained.record))
    )
    contents = {
        "model.stablehlo": program(functools.partial(trained.classify, trained.model), trained.image_shape),
        "model.safetensors": weights(trained),
        "config.json": (json.dumps(about, indent=2, allow_nan=False) + "\n").encode(),
        "README.md": model_card(about).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}; give another") from error
    return [folder / name for name in contents]


def program(classify: Callable[[jax.Array], jax.Array], image_shape: tuple[int, int, int]) -> bytes:
    """A StableHLO program by `jax.export`, from uint8 images (B, H, W, C) to float32 probabilities (B, K).

    Normalization and weights are in it, B is whatever it is called with, and it runs on each of PLATFORMS
    (https://docs.jax.dev/en/latest/export/export.html).
    """

    @jax.jit
    def probabilities(images: jax.Array) -> jax.Array:
        return jnp.exp(classify(images))

    shape = jax.export.symbolic_shape(", ".join(["batch", *map(str, image_shape)]))
    exported = jax.export.export(probabilities, platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, jnp.uint8))
    return bytes(exported.serialize())


def weights(trained: Trained) -> bytes:
    """The parameters and other state that evaluation uses, float32, by dotted names, as safetensors."""
    state = {"params": trained.model.params, "model_state": trained.model.model_state}
    arrays = {name: np.asarray(value) for name, value in _flat(state)}
    record = trained.record
    origin = {"started": record["started"], "step": str(trained.step), "data": record["data"]["name"]}
    return safetensors.numpy.save(arrays, metadata=origin)


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, jax.Array]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def describe_model(trained: Trained, metrics: Mapping[str, Any] | None, *, chosen: bool) -> dict[str, Any]:
    """The content of config.json: classes, shape, how the model was made, and its test metrics.

    chosen: whether the checkpoint is the best by validation, not one that was asked for.
    """
    record, environment = trained.record, trained.record["environment"]
    return {
        "classes": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "step": trained.step,
        "chosen": chosen,
        "temperature": trained.temperature,
        "parameters": record["parameters"],
        "data": record["data"],
        "started": record["started"],
        "code": record["code"],
        "environment": {key: environment[key] for key in ("python", "os", "cpu", "accelerator")},
        "packages": {name: environment["packages"].get(name) for name in ("jax", "flax", "optax")},
        "config": shareable(record["config"]),
        "test": metrics,
    }


def _test_metrics(workdir: pathlib.Path, trained: Trained) -> dict[str, Any] | None:
    """Test metrics of this checkpoint, from the end of the run or its evaluation; None without either."""
    record = trained.record
    if _best(record) == trained.step:
        return record["metrics"]["test"]
    try:
        found = json.loads(read_regular(workdir / f"evaluation-{trained.step}.json"))
        return found["metrics"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _best(record: Mapping[str, Any]) -> int | None:
    return record["best"]["step"] if record["status"] == "finished" else None


def model_card(about: Mapping[str, Any]) -> str:
    """README.md, from the result of `describe_model`."""
    filters: dict[str, Callable[..., str]] = {
        "percent": lambda value: "undefined" if value is None else f"{100 * value:.2f}%",
        "decimal": lambda value: "undefined" if value is None else f"{value:.5f}",
        "code": lambda text: Markup(_code_span(printable(str(text)))),
        "json": lambda value: Markup(printable(json.dumps(value, ensure_ascii=False))),
    }
    return load_template("model_card.md.jinja", escape=_markdown, filters=filters).render(about)


def _markdown(text: str) -> str:
    """Text, escaped for Markdown."""
    return re.sub(r"[\\`*_\[\]<>|#~&!$]", r"\\\g<0>", text)


def _code_span(text: str) -> str:
    """Text as code in a Markdown table, between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")
