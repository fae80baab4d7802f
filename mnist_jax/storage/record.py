"""run.json: what was run, on which code, data and machine, and how good it is.

`Record` is its one description: it is written, read, listed, compared and documented by it.
"""

import contextlib
import datetime
import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)

import ml_collections
import msgspec
import numpy as np

from mnist_jax.config.identity import completed, differences
from mnist_jax.system.errors import Interrupted, UserError, circumstance
from mnist_jax.system.files import read_regular, seal_broken, sealed, text_hash, write_whole

if TYPE_CHECKING:
    from mnist_jax.data import Dataset

SCHEMA = 3  # rises when a key changes its meaning or goes away, or checkpoints their form
_READ = (1, 2, SCHEMA)  # the keys of schemas 1 and 2 are these and `_MATRICES`
_OF_CHECKPOINTS = 2  # the schema that their form is from
_MATRICES = ("confusion", "confusion_normalized")  # of metrics.test, until they went to predictions.npz
TRAINED = "trained to the end"  # why a finished run ended
_CIRCUMSTANCES = ("code", "accelerator", "packages_sha256")


def _key(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


class _Code(TypedDict):
    version: NotRequired[Annotated[str, _key("of mnist_jax")]]
    commit: Annotated[
        str | None,
        _key(
            "of git; outside of a checkout that of `--git_commit`, `$GIT_COMMIT` or the file `GIT_COMMIT` "
            "beside main.py, or null"
        ),
    ]
    dirty: Annotated[
        bool | None,
        _key(
            "whether files of git's differed from the commit, or there were others that Python can import "
            "(configs are such) and templates, which `.gitignore` does not name; null where git cannot say"
        ),
    ]
    patch_sha256: NotRequired[Annotated[str | None, _key("of these changes, kept as code-HASH.patch")]]
    remote: NotRequired[Annotated[str | None, _key("scheme, host and path alone")]]
    keys_left_out: NotRequired[
        Annotated[
            list[str] | None,
            _key(
                "changed files that stay out of the patch: they may have keys or passwords, are no text, or "
                "larger than 1 MB"
            ),
        ]
    ]
    unknown: NotRequired[Annotated[str, _key("what git could not say of this, and why")]]


class _Split(TypedDict):
    expression: Annotated[str, _key("as in the config, or by the layout of the folder")]
    examples: Annotated[int, _key("how many")]
    class_counts: Annotated[list[int], _key("how many of each class")]


class _Rendering(TypedDict):
    channels: Annotated[int, _key("1 where all images are grey, else 3")]
    integer: Annotated[
        list[float] | None,
        _key(
            "of images with more than 8 bits: levels from the first number up to the second become 0 to 255, "
            "others are cut off; null where the training split has none: those of 16 bits"
        ),
    ]
    real: Annotated[list[float] | None, _key("the same of floating-point images; null: from 0 to 1")]
    ground: Annotated[
        int,
        _key("the level under transparent parts: white (255), or what fewer training images vanish on"),
    ]
    clipped: Annotated[int, _key("images with levels outside of that range")]
    transparent: Annotated[int, _key("images with transparent parts")]
    reduced: Annotated[int, _key("images with 16 bits a colour, of which the upper 8 are read")]
    first_frames: Annotated[int, _key("images with several frames or pages, of which the first is read")]


class _Data(TypedDict):
    name: Annotated[str, _key("with the version, such as `mnist/3.0.1`")]
    version: NotRequired[Annotated[str, _key("of the data set")]]
    fingerprint: Annotated[str, _key("sha256 of the decoded examples of all splits used")]
    classes: Annotated[list[str], _key("names, by label")]
    image_shape: Annotated[list[int], _key("height, width, channels")]
    splits: Annotated[dict[str, _Split], _key("by role: train, validation, test")]
    rendering: NotRequired[
        Annotated[_Rendering, _key("of a set of image files: how they became 8-bit pixels, in `predict` too")]
    ]
    mean: NotRequired[Annotated[list[float], _key("what normalizes pixels; of train where not given")]]
    std: NotRequired[Annotated[list[float], _key("the same")]]
    copies: NotRequired[
        Annotated[dict[str, int], _key("by role, examples with the pixels of one of an earlier split")]
    ]
    left_out: NotRequired[
        Annotated[
            dict[str, int],
            _key(
                "files in the folder of images that are not examples, by suffix; `hidden or system` (and "
                "all in such folders); with `skip_broken`, `broken`"
            ),
        ]
    ]


class _Environment(TypedDict):
    python: Annotated[str, _key("version")]
    os: Annotated[str, _key("operating system and kernel")]
    cpu: Annotated[str, _key("model")]
    cores: Annotated[int | None, _key("of the machine")]
    memory_bytes: Annotated[int, _key("of the machine")]
    accelerator: Annotated[
        dict[str, Any],
        _key("platform, kind and count of the devices, driver, compiler options: what decides the bits"),
    ]
    lock_sha256: NotRequired[Annotated[str | None, _key("of requirements.lock; null outside of a checkout")]]
    packages: Annotated[dict[str, str], _key("every installed package with its version")]


class _Process(TypedDict):
    started: Annotated[str, _key("ISO 8601, UTC")]
    from_step: Annotated[int, _key("steps taken before")]
    command: NotRequired[Annotated[list[str], _key("the command line")]]
    code: Annotated[dict[str, Any], _key("as `code` beside")]
    accelerator: Annotated[dict[str, Any], _key("as in `environment`")]
    packages_sha256: Annotated[str, _key("of `environment.packages`")]
    data_fingerprint: NotRequired[Annotated[str, _key("as in `data`")]]
    config_changes: NotRequired[
        Annotated[dict[str, Any], _key("after `--resume=force`: field, then and now")]
    ]


class _Best(TypedDict):
    step: Annotated[int, _key("of the model that is evaluated")]
    metric: Annotated[str, _key("on validation, which chose it; ties go to the later step")]
    member: NotRequired[Annotated[str, _key("of a population, the best alone")]]


class _Init(TypedDict):
    workdir: Annotated[str, _key("as in the config")]
    step: Annotated[int, _key("of the model there, its best on validation then")]
    sha256: Annotated[str, _key("of the arrays taken: equal for equal bits")]
    taken: Annotated[list[str], _key("names of these, parameters and model state")]
    new: Annotated[list[str], _key("names of those that start anew, since none of name and shape was there")]


class _Metrics(TypedDict):
    validation: Annotated[
        dict[str, Any],
        _key(
            "`accuracy`, `balanced_accuracy`, `loss` (mean cross-entropy, nats), `precision`, `recall` and "
            "`f1` as `macro_` and `weighted_` averages, `cohen_kappa`, `matthews`, `examples`"
        ),
    ]
    test: Annotated[
        dict[str, Any],
        _key(
            "the same and `micro_` averages, `macro_roc_auc` and `macro_average_precision` (one class "
            "against the rest), `brier`, `calibration_error`, `top_k`, `per_class`, `reliability` (examples, "
            "mean confidence and accuracy of 15 bins), `binary` (TP, FP, FN, TN of two classes), `intervals` "
            "(95% intervals by name, `recall/3` for class 3: Wilson's for rates, bootstrapped for others), "
            "`notes` (what is undefined, and why: such values are null and left out of averages); the matrix "
            "of confusion is in predictions.npz"
        ),
    ]


class _Member(TypedDict):
    member: Annotated[str, _key("the folder's name")]
    status: Annotated[str, _key("`finished` or `failed`")]
    exit_reason: NotRequired[Annotated[str | None, _key("why it ended")]]
    best: Annotated[dict[str, Any] | None, _key("as of a run")]
    validation: Annotated[dict[str, Any] | None, _key("as `metrics.validation`")]
    test: Annotated[dict[str, Any] | None, _key("the numbers of `metrics.test`")]


class _Resources(TypedDict):
    compile_seconds: Annotated[
        float, _key("spent on XLA's compilation, or on reading what was compiled before")
    ]
    flops_per_step: Annotated[
        float | None,
        _key("of all models, as XLA counts them; null where it does not tell, or oneDNN has a part"),
    ]
    device_peak_bytes: Annotated[int | None, _key("of the fullest device, where the backend tells")]
    host_peak_bytes: Annotated[int, _key("the most memory the process held")]


class Record(TypedDict):
    """The keys of run.json; those of results are null until the run has them."""

    schema: Annotated[int, _key("version of these keys")]
    status: Annotated[
        Literal["running", "finished", "interrupted", "failed"],
        _key("`running` also of a process that was killed; `interrupted` by a signal"),
    ]
    exit_reason: NotRequired[Annotated[str | None, _key("why it ended")]]
    started: Annotated[str, _key("ISO 8601, UTC; when the workdir was first used")]
    ended: NotRequired[Annotated[str | None, _key("ISO 8601, UTC")]]
    resumes: NotRequired[Annotated[int, _key("how often the run was started again")]]
    processes: Annotated[list[_Process], _key("each that trained; the keys beside are those of the last")]
    command: Annotated[list[str], _key("the command line")]
    config: Annotated[dict[str, Any], _key("every field, see config.md")]
    code: Annotated[_Code, _key("what ran")]
    data: Annotated[_Data, _key("what it was trained and tested on")]
    environment: Annotated[_Environment, _key("where it ran")]
    wandb_id: NotRequired[
        Annotated[str, _key("of the W&B run, where W&B is on; the same when the run resumes")]
    ]
    imports: NotRequired[
        Annotated[list[str], _key("modules that define the model and the data set, where these are your own")]
    ]
    wandb_mode: NotRequired[Annotated[str, _key("`online` or `offline`, what `config.wandb.mode` came to")]]
    init: NotRequired[
        Annotated[_Init, _key("what the first parameters were taken from, with `config.train.init_from`")]
    ]
    parameters: Annotated[int, _key("how many numbers the model has, or all models of a population")]
    steps: NotRequired[Annotated[int | None, _key("taken")]]
    best: NotRequired[Annotated[_Best | None, _key("the model that is evaluated")]]
    metrics: NotRequired[
        Annotated[_Metrics | None, _key("of that model; of a population, of the mean of its members")]
    ]
    diagnosis: NotRequired[
        Annotated[str | None, _key("what is wrong with a run that learned nothing, and what may help")]
    ]
    population: NotRequired[Annotated[list[_Member], _key("of a population alone, its members")]]
    params_sha256: NotRequired[
        Annotated[str | None, _key("of the parameters after the last step: equal for equal bits")]
    ]
    history_sha256: NotRequired[Annotated[str | None, _key("of metrics.jsonl at the end")]]
    startup_seconds: NotRequired[
        Annotated[float | None, _key("from the start of the process to its first step done")]
    ]
    train_seconds: NotRequired[
        Annotated[float | None, _key("of training, without start-up, compilation, evaluation and saving")]
    ]
    images: NotRequired[Annotated[int | None, _key("trained on in `train_seconds`")]]
    images_per_second: NotRequired[Annotated[float | None, _key("`images / train_seconds`")]]
    wall_seconds: NotRequired[
        Annotated[
            float | None,
            _key("of all processes of the run; of one that was killed up to its last checkpoint"),
        ]
    ]
    resources: NotRequired[Annotated[_Resources | None, _key("of the last process, at its end")]]
    record_sha256: NotRequired[
        Annotated[str, _key("of this file up to here: a record that was changed is refused")]
    ]


class _Test(TypedDict):
    accuracy: float | None
    notes: list[str]


class _FinishedMetrics(TypedDict):
    validation: dict[str, Any]
    test: _Test


class _ConfigData(TypedDict):
    test: str


class _Config(TypedDict):
    seed: int
    data: _ConfigData


class _Device(TypedDict):
    kind: str


class _Place(TypedDict):
    accelerator: _Device


class _Finished(TypedDict):
    """What programs read of a finished run, beside `Record`."""

    config: _Config
    environment: _Place
    processes: Annotated[list[_Process], msgspec.Meta(min_length=1)]
    steps: int
    best: _Best
    metrics: _FinishedMetrics
    params_sha256: str


RESULTS = ("steps", "best", "metrics", "diagnosis", "params_sha256", "history_sha256", "startup_seconds",
           "train_seconds", "images", "images_per_second", "wall_seconds", "resources")  # fmt: skip


def read_record(workdir: pathlib.Path) -> dict[str, Any]:
    """The run.json of a workdir.

    Raises:
      UserError: there is none, it cannot be read, is damaged or of another version.
    """
    path = workdir / "run.json"
    try:
        content = read_regular(path)
        record = msgspec.json.decode(content)
        if record["schema"] not in _READ:
            raise UserError(
                f"{path} was written by another version (schema {record['schema']}, not {SCHEMA})"
            )
        msgspec.convert(record, Record)
        if record["status"] == "finished":
            msgspec.convert(record, _Finished)
        if seal_broken(content):
            raise UserError(
                f"{path} was changed since it was written, by a failing disk or by hand; restore it, or "
                "remove it and start the run again, which goes on from its checkpoints"
            )
        for name in _MATRICES if record.get("metrics") else ():
            record["metrics"]["test"].pop(name, None)
        return {**record, "config": completed(record["config"])}
    except FileNotFoundError as error:
        raise UserError(f"{workdir} holds no run: there is no {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is damaged ({error}); remove it, or give another --workdir") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged; remove it, or give another --workdir") from error


def require_current(record: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Refuses a run whose checkpoints are of an earlier form.

    Raises:
      UserError: they are.
    """
    if record["schema"] < _OF_CHECKPOINTS:
        raise UserError(
            f"the checkpoints in {workdir} were written by an earlier version (schema {record['schema']}, "
            f"not {_OF_CHECKPOINTS} or later); use that version, or train again in another --workdir"
        )


class RunRecord:
    """The run.json of a workdir: a dict, written whole or not at all at each update.

    Nothing is written before `begin`: a run that cannot start leaves no record, or that of the run before.
    """

    def __init__(self, path: pathlib.Path, previous: dict[str, Any] | None):
        self._path = path
        self._begun = False
        self.fields: dict[str, Any] = dict(previous or {})
        self.fields.pop("record_sha256", None)  # of the file, which gets another

    def begin(
        self,
        config: ml_collections.FrozenConfigDict,
        dataset: "Dataset",
        *,
        step: int,
        parameters: int,
        imports: Sequence[str] = (),
    ) -> list[str]:
        """Records what is about to be trained from `step` on, on which code, data and machine.

        Returns: a warning for each circumstance that is not that of the process before.
        """
        # Imported here: what only reads records starts without JAX.
        from mnist_jax.data.overlap import describe_copies
        from mnist_jax.storage.provenance import describe_code, describe_data, describe_environment
        from mnist_jax.system import cpu

        self._begun = True
        code, environment = describe_code(self._path.parent), plain(describe_environment(config.dtype))
        process = {
            "started": now(),
            "from_step": step,
            "command": sys.argv,
            "code": code,
            "accelerator": environment["accelerator"],
            "packages_sha256": text_hash(json.dumps(environment["packages"])),
            "data_fingerprint": dataset.fingerprint,
            "config_changes": differences(self.fields.get("config", config.to_dict()), config.to_dict()),
        }
        earlier = self.fields.get("processes", [])
        self.update(
            schema=SCHEMA,
            status="running",
            exit_reason=None,
            started=self.fields.get("started", process["started"]),
            ended=None,
            resumes=len(earlier),
            command=sys.argv,
            config=config.to_dict(),
            code=code,
            data=describe_data(dataset),
            environment=environment,
            parameters=parameters,
            imports=imports,
            processes=[*earlier, process],
            **dict.fromkeys(RESULTS),
        )
        changed = [key for key in _CIRCUMSTANCES if step > 0 and earlier and earlier[-1][key] != process[key]]
        told = [f"the run goes on with other {key} than before; run.json has both" for key in changed]
        if files := ", ".join(code.get("keys_left_out") or ()):
            told.append(
                f"uncommitted changes of {files} stay out of the run's patch: they may have keys, are no "
                "text, or exceed 1 MB"
            )
        if line := describe_copies(self.fields["data"]["copies"], dataset):
            told.append(line)
        if unknown := code.get("unknown"):
            told.append(unknown)
        if line := cpu.notice(config.dtype):
            told.append(line)
        return told

    def end(self, error: BaseException | None = None, reason: str = TRAINED) -> None:
        """Records the end: finished for a reason, or interrupted or failed by an error."""
        if error is None:
            self.update(status="finished", exit_reason=reason, ended=now())
        elif self._begun:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            reason = circumstance(error) or str(error) or type(error).__name__
            with contextlib.suppress(OSError):  # a disk that is full ends the run by its own error
                self.update(status="interrupted" if stopped else "failed", exit_reason=reason, ended=now())

    def update(self, **fields: Any) -> None:
        """Sets top-level keys and writes the file; numbers that are not finite become null."""
        self.fields.update(plain(fields))
        msgspec.convert(self.fields, Record)
        assert self.fields.keys() <= Record.__annotations__.keys(), "a key that `Record` does not have"
        write_whole(self._path, sealed(self.fields))


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays and tuples are lists, numbers that are not finite are null.

    In a text, bytes that are not UTF-8 are escaped.
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def render_keys() -> str:
    """docs/run-json.md: the keys of run.json."""
    lines = [
        "# run.json",
        "",
        "What was run, on which code, data and machine, and how good it is. Keys of results are null until",
        "the run has them. The tables are generated from `mnist_jax/storage/record.py`, which writes and",
        "checks the file.",
        "",
        *_table(Record),
    ]
    for title, struct in (
        ("code", _Code),
        ("data", _Data),
        ("data.splits", _Split),
        ("data.rendering", _Rendering),
        ("environment", _Environment),
        ("processes", _Process),
        ("init", _Init),
        ("best", _Best),
        ("metrics", _Metrics),
        ("population", _Member),
        ("resources", _Resources),
    ):
        lines += ["", f"## {title}", "", *_table(struct)]
    return "\n".join(lines) + "\n"


def _table(struct: type) -> list[str]:
    """The keys of a TypedDict and what they mean, as a table in Markdown."""
    found = ["| key | meaning |", "|---|---|"]
    for name, hint in get_type_hints(struct, include_extras=True).items():
        annotated = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        (meta,) = annotated.__metadata__
        found.append(f"| `{name}` | {meta.description} |")
    return found
