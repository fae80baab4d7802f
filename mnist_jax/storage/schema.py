"""The schema of run.json: `Record` describes each key, and writes, validates and documents the file."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args, get_origin, get_type_hints

import msgspec

SCHEMA = 3  # rises when a key changes its meaning or goes away, or checkpoints their form


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
    temperature: NotRequired[
        Annotated[
            float | None,
            _key("with `config.evaluation.temperature`: divides the logits; fitted on validation"),
        ]
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


class Finished(TypedDict):
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


def render_keys() -> str:
    """docs/run-json.md: the keys of run.json."""
    lines = [
        "# run.json",
        "",
        "What was run, on which code, data and machine, and how good it is. Keys of results are null until",
        "the run has them. The tables are generated from `mnist_jax/storage/schema.py`, which writes and",
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
