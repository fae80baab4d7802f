"""Results as Markdown, and the pages that have them between markers:

    <!-- results: KIND -->
    <!-- end of results -->

KIND: a kind of measurement, such as "throughput", or "accuracy, short". It imports no JAX.
"""

import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmark.results import Entry, config_of, kind, read

_MARKED = re.compile(r"(<!-- results: (.+?) -->\n).*?(<!-- end of results -->)", re.DOTALL)
_LONG = 600  # seconds; more are shown as minutes
# The order of a table of accuracies; a config that is not listed follows without a name of its set.
_SETS = {
    "digits": "digits",
    "mnist_fast": "MNIST",
    "mnist": "MNIST",
    "mnist_best": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR-10",
    "cifar10_best": "CIFAR-10",
}


def updated(page: pathlib.Path, results: pathlib.Path) -> str:
    """The text of a page, with what is between its markers made from a file of results."""
    return update(page.read_text(encoding="utf-8"), read(results))


def update(text: str, entries: Sequence[Entry]) -> str:
    """The text with the results of each marker's kind below it."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{block(entries, found[2])}\n\n{found[3]}", text)


def markdown(entries: Sequence[Entry]) -> str:
    """All entries as Markdown, by kind."""
    return "\n\n".join(block(entries, one) for one in dict.fromkeys(map(kind, entries))) + "\n"


def block(entries: Sequence[Entry], what: str) -> str:
    """The results of a kind: a table for each entry; of accuracies, one for each machine and commit."""
    chosen = [entry for entry in entries if kind(entry) == what.removesuffix(", short")]
    if not chosen:
        return "Not measured yet."
    if what == "accuracy":
        return _by_machine(chosen)
    if what == "accuracy, short":
        return _accuracies(_front(chosen), _SHORT_COLUMNS)
    return "\n\n".join(map(_section, chosen))


def caption(entry: Entry) -> str:
    """Machine and versions; commit, date and source; whether a figure is noisy."""
    return _origin(entry) + ("; noisy" if entry.get("noisy") else "")


def _origin(entry: Entry) -> str:
    machine, commit = entry["machine"], entry.get("commit")
    host = [f"{machine['cpu']} with {machine['cores']} cores"] if machine["cpu"] else []
    if machine["accelerator"]["platform"] != "cpu":
        host.append(f"{machine['accelerator']['count']} x {machine['accelerator']['kind']}")
    python = [f"Python {machine['python']}"] if machine.get("python") else []
    versions = [f"{name} {one}" for name, one in machine["versions"].items()]
    when = filter(None, [commit and f"commit {commit}", entry.get("date"), entry.get("source")])
    return "; ".join(filter(None, [", ".join([*host, *python, *versions]), ", ".join(when)]))


def _section(entry: Entry) -> str:
    header, *rows = entry["table"]
    return f"`{entry['command']}`\n\n{_table(header, rows)}\n\n{caption(entry)}."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _by_machine(entries: Iterable[Entry]) -> str:
    """A table of the accuracies of each machine, version and commit, with a caption; the latest first."""
    groups: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.get("date") or "", reverse=True):
        groups.setdefault(_origin(entry), []).append(entry)
    return "\n\n".join(f"{_accuracies(of, _COLUMNS)}\n\n{origin}." for origin, of in groups.items())


def _accuracies(entries: Iterable[Entry], columns: Mapping[str, Callable[[Entry], str]]) -> str:
    rows = [[cell(entry) for cell in columns.values()] for entry in sorted(entries, key=_order)]
    return _table(list(columns), rows)


def _front(entries: Iterable[Entry]) -> Iterable[Entry]:
    """The latest entry of each config, as its file has it, on each machine."""
    plain = [entry for entry in entries if not config_of(entry)[1]]
    by_date = sorted(plain, key=lambda entry: entry.get("date") or "")
    return {(config_of(entry)[0], _machine(entry)): entry for entry in by_date}.values()


def _order(entry: Entry) -> tuple[int, str, int]:
    config, fields = config_of(entry)
    place = list(_SETS).index(config) if config in _SETS else len(_SETS)
    return place, config, len(fields)


def _set(entry: Entry) -> str:
    return _SETS.get(config_of(entry)[0], "")


def _config(entry: Entry) -> str:
    config, fields = config_of(entry)
    return ", ".join(f"`{one}`" for one in (config, *fields))


def _accuracy(entry: Entry) -> str:
    mean, runs = entry["mean"], entry["n"]
    if runs == 1:
        return f"{round(mean, 2)}% (n = 1)"
    return f"{mean:.2f}% ± {entry['deviation']:.2f}% (n = {runs})"


def _process(entry: Entry) -> str:
    return _span(entry.get("wall_seconds")) + (", cold start" if entry.get("warm") is False else "")


def _process_with_noise(entry: Entry) -> str:
    return _process(entry) + _noise(entry.get("wall_seconds"))


def _training(entry: Entry) -> str:
    return _span(entry.get("train_seconds")) + _noise(entry.get("train_seconds"))


def _noise(timing: Mapping[str, Any] | None) -> str:
    return ", noisy" if timing and timing.get("noisy") else ""


def _machine(entry: Entry) -> str:
    machine = entry["machine"]
    accelerator = machine["accelerator"]
    if accelerator["platform"] == "cpu":
        return f"{machine['cpu']}, {machine['cores']} cores"
    count = f"{accelerator['count']} x " if accelerator["count"] > 1 else ""
    return f"{count}{accelerator['kind']}"


def _span(timing: Mapping[str, Any] | None) -> str:
    """The range of seconds; "" if it is unknown."""
    if not timing:
        return ""
    scale, unit = (60, "min") if timing["high"] > _LONG else (1, "s")
    ends = [timing["low"] / scale, timing["high"] / scale]
    shown = dict.fromkeys(f"{end:#.2g}" if end < 9.95 else f"{end:.0f}" for end in ends)
    return f"{' to '.join(shown)} {unit}"


_SHORT_COLUMNS: dict[str, Callable[[Entry], str]] = {
    "data set": _set,
    "config": _config,
    "test accuracy": _accuracy,
    "time": _process,
    "machine": _machine,
}
_COLUMNS: dict[str, Callable[[Entry], str]] = {
    "data set": _set,
    "config": _config,
    "test accuracy": _accuracy,
    "whole process": _process_with_noise,
    "training alone": _training,
}
