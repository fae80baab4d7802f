"""Comparison of runs: settings over seeds and folds, and which differences are significant."""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mnist_jax.config.identity import shareable
from mnist_jax.metrics.confusion import merit
from mnist_jax.metrics.significance import Interval, McNemar, holm, mcnemar, paired_bootstrap, welch
from mnist_jax.studies.finished import DRAWS, FinishedRun
from mnist_jax.studies.listing import short_names, varying
from mnist_jax.system.errors import UserError

_LEVEL = 0.05


class Setting(NamedTuple):
    """Runs whose configs differ only in seed and fold, in the order of these.

    fields: what differs between settings. scores: the chosen metric of each run on test, validation: on
    validation; deviations: of the sample, NaN for one run.
    """

    name: str
    fields: dict[str, Any]
    runs: list[FinishedRun]
    scores: list[float]
    validation: list[float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    @property
    def deviation(self) -> float:
        return _deviation(self.scores)

    @property
    def validation_mean(self) -> float:
        return float(np.mean(self.validation))

    @property
    def validation_deviation(self) -> float:
        return _deviation(self.validation)

    @property
    def alone(self) -> list["Setting"]:
        """Each run as a setting of its own."""
        lists = zip(self.runs, self.scores, self.validation, strict=True)
        return [Setting(run.name, {}, [run], [score], [value]) for run, score, value in lists]

    @property
    def folded(self) -> bool:
        """Whether its runs are folds of a cross-validation, so that `validation` has all its examples."""
        return any(run.fold for run in self.runs)


class ModelPair(NamedTuple):
    """McNemar's test of two models, by the names of their runs; p_corrected: by Holm over all pairs."""

    first: str
    second: str
    test: McNemar
    p_corrected: float


class SettingPair(NamedTuple):
    """Two settings, the better first.

    difference: of the means of the chosen metric, the first's minus the second's. p, p_corrected: Welch's
    test over seeds and folds, and with Holm's correction over all pairs; interval: its 95% interval.
    bootstrap: 95% intervals of the differences of "accuracy" and "macro_f1" over test examples. models: their
    runs, paired by seed and fold where both have several.
    """

    first: str
    second: str
    difference: float
    p: float
    p_corrected: float
    interval: Interval
    bootstrap: dict[str, Interval]
    models: list[ModelPair]

    @property
    def verdict(self) -> str:
        """The verdict: "real" or "not shown"; with too few seeds, about the trained models only."""
        if np.isfinite(self.p_corrected):
            return "real" if self.p_corrected < _LEVEL else "not shown"
        differ = sum(pair.p_corrected < _LEVEL for pair in self.models)
        if len(self.models) == 1:
            return "these two models differ" if differ else "not shown"
        return f"{differ} of {len(self.models)} pairs of models differ"


class Comparison(NamedTuple):
    """A comparison of settings.

    Attributes:
        metric: what settings are sorted by, best first.
        varying: the fields that differ between settings.
        circumstances: what else differs between runs, such as the code -> each value with its runs.
    """

    metric: str
    varying: list[str]
    settings: list[Setting]
    pairs: list[SettingPair]
    circumstances: dict[str, dict[str, list[str]]]

    @property
    def folded(self) -> bool:
        """Whether a setting is cross-validated."""
        return any(setting.folded for setting in self.settings)

    @property
    def columns(self) -> list[str]:
        """The varying fields, shortened where the short names differ."""
        return short_names(self.varying)


def compare(runs: Sequence[FinishedRun], metric: str = "accuracy") -> Comparison:
    """Compares runs of the same test split.

    metric: a number of run.json's metrics.test.
    Raises UserError: no such metric, or it is undefined in a run.
    """
    configs = [_without_draw(run) for run in runs]
    fields = varying(configs)
    groups: dict[str, tuple[dict[str, Any], list[FinishedRun]]] = {}
    for run, config in zip(runs, configs, strict=True):
        own = {name: config.get(name) for name in fields}
        groups.setdefault(repr(own), (own, []))[1].append(run)
    settings = []
    for own, group in groups.values():
        group.sort(key=lambda run: run.draw)
        settings.append(_setting(_name(group), own, group, metric))
    settings = _told_apart(_best_first(settings, metric))
    return Comparison(metric, fields, settings, _pairs(settings, metric), _circumstances(runs))


def _setting(name: str, fields: dict[str, Any], runs: list[FinishedRun], metric: str) -> Setting:
    validation = [run.record["metrics"]["validation"].get(metric) for run in runs]
    numbers = [float("nan") if value is None else float(value) for value in validation]
    return Setting(name, fields, runs, [_score(run, metric) for run in runs], numbers)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """A comparison for programs; undefined values are NaN."""
    return {
        "metric": comparison.metric,
        "settings": [
            {
                "name": setting.name,
                "fields": setting.fields,
                "n": len(setting.runs),
                "mean": setting.mean,
                "deviation": setting.deviation,
                "validation_mean": setting.validation_mean,
                "validation_deviation": setting.validation_deviation,
                "runs": [
                    {"workdir": str(run.workdir), "seed": run.seed, "fold": run.fold, "score": score}
                    for run, score in zip(setting.runs, setting.scores, strict=True)
                ],
            }
            for setting in comparison.settings
        ],
        "pairs": [
            {
                **pair._asdict(),
                "models": [{**model._asdict(), "test": model.test._asdict()} for model in pair.models],
                "verdict": pair.verdict,
            }
            for pair in comparison.pairs
        ],
        "circumstances": comparison.circumstances,
    }


def _circumstances(runs: Sequence[FinishedRun]) -> dict[str, dict[str, list[str]]]:
    """What runs differ in besides the config: code, packages, hardware."""

    def facts(record: dict[str, Any]) -> dict[str, Any]:
        code, machine = record["code"], record["environment"]["accelerator"]
        return {
            "code": f"{code['commit']}{'-dirty' if code['dirty'] else ''}",
            "packages": record["processes"][-1]["packages_sha256"][:12],
            "accelerator": machine["kind"],
            "cores": machine["cores_usable"],
        }

    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for what, value in facts(run.record).items():
            found.setdefault(what, {}).setdefault(str(value), []).append(run.name)
    return {what: values for what, values in found.items() if len(values) > 1}


def _best_first(settings: Sequence[Setting], metric: str) -> list[Setting]:
    return sorted(settings, key=lambda setting: merit(metric, setting.mean), reverse=True)


def _pairs(settings: Sequence[Setting], metric: str) -> list[SettingPair]:
    """All pairs of settings; for one setting, pairs of its runs."""
    if len(settings) == 1:
        settings = _best_first(settings[0].alone, metric)
    indices = [(i, j) for i in range(len(settings)) for j in range(i + 1, len(settings))]
    if not indices:
        return []
    runs = [run for setting in settings for run in setting.runs]
    start = np.cumsum([0, *(len(setting.runs) for setting in settings)])
    members = [range(start[k], start[k + 1]) for k in range(len(settings))]
    labels, predicted = runs[0].predictions.labels, [run.predictions.predicted for run in runs]
    tests = [welch(settings[i].scores, settings[j].scores) for i, j in indices]
    corrected = holm([test.p for test in tests])
    bootstrap = paired_bootstrap(labels, predicted, [(members[i], members[j]) for i, j in indices])
    models = _model_pairs([_by_draw(settings[i], settings[j]) for i, j in indices])
    return [
        SettingPair(
            first=settings[i].name,
            second=settings[j].name,
            difference=settings[i].mean - settings[j].mean,
            p=test.p,
            p_corrected=corrected[k],
            interval=test.interval,
            bootstrap=bootstrap[k],
            models=models[k],
        )
        for k, ((i, j), test) in enumerate(zip(indices, tests, strict=True))
    ]


def _by_draw(first: Setting, second: Setting) -> list[tuple[FinishedRun, FinishedRun]]:
    """Pairs of runs of equal seed and fold; all pairs where there are none, or one setting has one run."""
    pairs = [(a, b) for a in first.runs for b in second.runs]
    if min(len(first.runs), len(second.runs)) == 1:
        return pairs
    return [(a, b) for a, b in pairs if a.draw == b.draw] or pairs


def _model_pairs(pairs: Sequence[Sequence[tuple[FinishedRun, FinishedRun]]]) -> list[list[ModelPair]]:
    """McNemar's tests of all pairs of models of each pair of settings, corrected over all of them."""
    tests = [[mcnemar(_right(a), _right(b)) for a, b in group] for group in pairs]
    corrected = iter(holm([test.p for group in tests for test in group]))
    return [
        [ModelPair(a.name, b.name, test, next(corrected)) for (a, b), test in zip(group, found, strict=True)]
        for group, found in zip(pairs, tests, strict=True)
    ]


def _right(run: FinishedRun) -> np.ndarray:
    return run.predictions.predicted == run.predictions.labels


def _score(run: FinishedRun, metric: str) -> float:
    scores = run.record["metrics"]["test"]
    numbers = {name for name, value in scores.items() if isinstance(value, (int, float))}
    if metric not in scores or not (metric in numbers or scores[metric] is None):
        raise UserError(f"--metric must be one of {', '.join(sorted(numbers))} (got {metric!r})")
    if scores[metric] is None:
        raise UserError(f"--metric={metric} is undefined in {run.workdir}; {' '.join(scores['notes'])}")
    return float(scores[metric])


def _without_draw(run: FinishedRun) -> dict[str, Any]:
    return {name: value for name, value in shareable(run.record["config"]).items() if name not in DRAWS}


def _deviation(scores: Sequence[float]) -> float:
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")


def _name(group: Sequence[FinishedRun]) -> str:
    """The common part of the folders' names, without seed and fold."""
    parents = [run.workdir.absolute().parent.name for run in group]
    without = [re.sub(r"([-_.,]*(seed|fold)[-_=]*\d+)+$", "", run.name) for run in group]
    names = [name or parent for name, parent in zip(without, parents, strict=True)]
    if len(set(names)) == 1:
        return names[0]
    letters = itertools.takewhile(lambda same: len(set(same)) == 1, zip(*names, strict=False))
    return "".join(letter for letter, *_ in letters).rstrip("-_.,=0123456789") or names[0]


def _told_apart(settings: Sequence[Setting]) -> list[Setting]:
    """Numbers settings of the same name, such as those from different folders."""
    names = [setting.name for setting in settings]
    return [
        setting._replace(name=f"{setting.name} ({names[: k + 1].count(setting.name)})")
        if names.count(setting.name) > 1
        else setting
        for k, setting in enumerate(settings)
    ]
