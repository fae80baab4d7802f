"""The schema of run.json: `Record` describes each key, and writes, validates and documents the file."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args, get_origin, get_type_hints

import msgspec

SCHEMA = 3  # increases when a key is removed or changes its meaning, and with the form of checkpoints


def _key(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


class _Code(TypedDict):
    version: NotRequired[Annotated[str, _key("of mnist_jax")]]
    commit: Annotated[
        str | None,
        _key(
            "the git commit; without a checkout that of `--git_commit`, `$GIT_COMMIT` or the file "
            "`GIT_COMMIT` beside main.py, or null"
        ),
    ]
    dirty: Annotated[
        bool | None,
        _key(
            "whether tracked files differed from the commit, or there were untracked templates or files "
            "that Python can import, such as configs, not named in `.gitignore`; null if unknown"
        ),
    ]
    patch_sha256: NotRequired[Annotated[str | None, _key("of the patch of these changes, code-HASH.patch")]]
    remote: NotRequired[Annotated[str | None, _key("the address of `origin`: scheme, host and path only")]]
    keys_left_out: NotRequired[
        Annotated[
            list[str] | None,
            _key(
                "changed files that the patch lacks: they may contain keys or passwords, are not text, or "
                "are larger than 1 MB"
            ),
        ]
    ]
    unknown: NotRequired[Annotated[str, _key("which of these values are unknown, and why")]]


class _Split(TypedDict):
    expression: Annotated[str, _key("from the config, or the layout of the folder")]
    examples: Annotated[int, _key("number of examples")]
    class_counts: Annotated[list[int], _key("examples of each class")]


class _Rendering(TypedDict):
    channels: Annotated[int, _key("1 if all images are grey, else 3")]
    integer: Annotated[
        list[float] | None,
        _key(
            "for images with more than 8 bits: the levels that become 0 and 255; others are clipped; null if "
            "the training split has no such images: then the range of 16 bits"
        ),
    ]
    real: Annotated[list[float] | None, _key("the same for floating-point images; null: 0 and 1")]
    ground: Annotated[
        int,
        _key("the level under transparent parts: white (255), unless another hides fewer training images"),
    ]
    clipped: Annotated[int, _key("images with levels outside that range")]
    transparent: Annotated[int, _key("images with transparent parts")]
    reduced: Annotated[int, _key("images with 16 bits a color, read with the upper 8")]
    first_frames: Annotated[int, _key("images with several frames or pages; only the first is read")]


class _Data(TypedDict):
    name: Annotated[str, _key("with the version, such as `mnist/3.0.1`")]
    version: NotRequired[Annotated[str, _key("of the data set")]]
    fingerprint: Annotated[str, _key("sha256 of the decoded examples of all splits")]
    classes: Annotated[list[str], _key("names, by label")]
    image_shape: Annotated[list[int], _key("height, width, channels")]
    splits: Annotated[dict[str, _Split], _key("by role: train, validation, test")]
    rendering: NotRequired[
        Annotated[
            _Rendering, _key("for image files: how they are converted to 8-bit pixels, also in `predict`")
        ]
    ]
    mean: NotRequired[
        Annotated[list[float], _key("per channel, to normalize pixels; of train unless the config sets it")]
    ]
    std: NotRequired[Annotated[list[float], _key("the same, standard deviation")]]
    copies: NotRequired[
        Annotated[dict[str, int], _key("by role, examples with the same pixels as one of an earlier split")]
    ]
    left_out: NotRequired[
        Annotated[
            dict[str, int],
            _key(
                "files in the folder of images that are not examples, by suffix; `hidden or system`, with "
                "all in such folders; with `skip_broken`, `broken`"
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
        _key("platform, kind and number of devices, driver, compiler options: all that affects the bits"),
    ]
    lock_sha256: NotRequired[Annotated[str | None, _key("of requirements.lock; null without a checkout")]]
    packages: Annotated[dict[str, str], _key("all installed packages with their versions")]


class _Process(TypedDict):
    started: Annotated[str, _key("ISO 8601, UTC")]
    from_step: Annotated[int, _key("steps taken before")]
    command: NotRequired[Annotated[list[str], _key("the command line")]]
    code: Annotated[dict[str, Any], _key("as `code` of the record")]
    accelerator: Annotated[dict[str, Any], _key("as in `environment`")]
    packages_sha256: Annotated[str, _key("of `environment.packages`")]
    data_fingerprint: NotRequired[Annotated[str, _key("as in `data`")]]
    config_changes: NotRequired[
        Annotated[dict[str, Any], _key("with `--resume=force`: field, earlier value, new value")]
    ]


class _Best(TypedDict):
    step: Annotated[int, _key("step of the model that is evaluated")]
    metric: Annotated[str, _key("validation metric that chose it; ties go to the later step")]
    member: NotRequired[Annotated[str, _key("in a population, the best member")]]


class _Init(TypedDict):
    workdir: Annotated[str, _key("as in the config")]
    step: Annotated[int, _key("step of its best model on validation")]
    sha256: Annotated[str, _key("of the copied arrays: equal for equal bits")]
    taken: Annotated[list[str], _key("names of the copied arrays: parameters and model state")]
    new: Annotated[list[str], _key("names of the others: it has none of that name and shape")]


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
            "(95% intervals by name, `recall/3` for class 3: Wilson for rates, bootstrap for others), "
            "`notes` (which values are undefined, and why: they are null, and averages ignore them); the "
            "confusion matrix is in predictions.npz"
        ),
    ]


class _Member(TypedDict):
    member: Annotated[str, _key("the folder's name")]
    status: Annotated[str, _key("`finished` or `failed`")]
    exit_reason: NotRequired[Annotated[str | None, _key("why it ended")]]
    best: Annotated[dict[str, Any] | None, _key("as `best` of a run")]
    validation: Annotated[dict[str, Any] | None, _key("as `metrics.validation`")]
    test: Annotated[dict[str, Any] | None, _key("the numbers of `metrics.test`")]


class _Resources(TypedDict):
    compile_seconds: Annotated[float, _key("time of XLA's compilation, or of reading cached programs")]
    flops_per_step: Annotated[
        float | None,
        _key("of all models, counted by XLA; null if it does not count them, or oneDNN computes a part"),
    ]
    device_peak_bytes: Annotated[
        int | None, _key("of the fullest device; null if the backend does not report it")
    ]
    host_peak_bytes: Annotated[int, _key("peak memory of the process")]


class Record(TypedDict):
    """The keys of run.json; keys of results are null until the run has them."""

    schema: Annotated[int, _key("version of these keys")]
    status: Annotated[
        Literal["running", "finished", "interrupted", "failed"],
        _key("`running` also after a kill; `interrupted`: by a signal"),
    ]
    exit_reason: NotRequired[Annotated[str | None, _key("why it ended")]]
    started: Annotated[str, _key("ISO 8601, UTC; first use of the workdir")]
    ended: NotRequired[Annotated[str | None, _key("ISO 8601, UTC")]]
    resumes: NotRequired[Annotated[int, _key("how often the run was resumed")]]
    processes: Annotated[
        list[_Process], _key("each training process; the keys of the record are those of the last")
    ]
    command: Annotated[list[str], _key("the command line")]
    config: Annotated[dict[str, Any], _key("all fields, see config.md")]
    code: Annotated[_Code, _key("the program that ran")]
    data: Annotated[_Data, _key("the data set")]
    environment: Annotated[_Environment, _key("the machine and its software")]
    wandb_id: NotRequired[Annotated[str, _key("of the W&B run, if W&B is on; a resumed run keeps it")]]
    imports: NotRequired[
        Annotated[list[str], _key("modules that define the model or the data set, if these are your own")]
    ]
    wandb_mode: NotRequired[Annotated[str, _key("`online` or `offline`, the result of `config.wandb.mode`")]]
    init: NotRequired[
        Annotated[_Init, _key("the model that the first parameters come from, with `config.train.init_from`")]
    ]
    parameters: Annotated[int, _key("number of parameters of the model, or of all models of a population")]
    steps: NotRequired[Annotated[int | None, _key("steps taken")]]
    best: NotRequired[Annotated[_Best | None, _key("the model that is evaluated")]]
    metrics: NotRequired[
        Annotated[_Metrics | None, _key("of that model; in a population, of the mean of its members")]
    ]
    temperature: NotRequired[
        Annotated[
            float | None,
            _key("with `config.evaluation.temperature`: divides the logits of test; fitted on validation"),
        ]
    ]
    diagnosis: NotRequired[Annotated[str | None, _key("why a run learned nothing, and a remedy")]]
    population: NotRequired[Annotated[list[_Member], _key("its members, if it is a population")]]
    params_sha256: NotRequired[
        Annotated[str | None, _key("of the parameters after the last step: equal for equal bits")]
    ]
    history_sha256: NotRequired[Annotated[str | None, _key("of metrics.jsonl at the end")]]
    startup_seconds: NotRequired[
        Annotated[float | None, _key("from the start of the process to the end of its first step")]
    ]
    train_seconds: NotRequired[
        Annotated[
            float | None, _key("time of training, without start-up, compilation, evaluation and saving")
        ]
    ]
    images: NotRequired[Annotated[int | None, _key("trained on in `train_seconds`")]]
    images_per_second: NotRequired[Annotated[float | None, _key("`images / train_seconds`")]]
    wall_seconds: NotRequired[
        Annotated[
            float | None,
            _key("time of all processes of the run; of a killed one up to its last checkpoint"),
        ]
    ]
    resources: NotRequired[Annotated[_Resources | None, _key("of the last process, at its end")]]
    record_sha256: NotRequired[
        Annotated[str, _key("of the file up to this key: a changed record is refused")]
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
    """The keys of a finished run that programs rely on."""

    config: _Config
    environment: _Place
    processes: Annotated[list[_Process], msgspec.Meta(min_length=1)]
    steps: int
    best: _Best
    metrics: _FinishedMetrics
    params_sha256: str


RESULTS = ("steps", "best", "metrics", "temperature", "diagnosis", "params_sha256", "history_sha256",
           "startup_seconds", "train_seconds", "images", "images_per_second", "wall_seconds",
           "resources")  # fmt: skip


def render_keys() -> str:
    """docs/run-json.md: the keys of run.json."""
    lines = [
        "# run.json",
        "",
        "What was run, on which code, data and machine, and the results. Keys of results are null until the",
        "run has them. The tables are generated from `mnist_jax/storage/schema.py`, which validates it.",
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
    """The keys of a TypedDict and their meanings, as a Markdown table."""
    found = ["| key | meaning |", "|---|---|"]
    for name, hint in get_type_hints(struct, include_extras=True).items():
        annotated = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        (meta,) = annotated.__metadata__
        found.append(f"| `{name}` | {meta.description} |")
    return found
