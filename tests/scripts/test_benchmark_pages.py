import re
import subprocess
import sys

import reference
from benchmark import pages, results
from conftest import ROOT

KINDS = ("accuracy", "throughput", "startup", "input", "evaluation", "population", "tracking")
CPU = {
    "cpu": "AMD EPYC",
    "cores": 2,
    "accelerator": {"platform": "cpu", "kind": "cpu", "count": 1},
    "python": "3.11.7",
    "versions": {"jaxlib": "0.10.2"},
}
GPU = {
    "cpu": None,
    "cores": None,
    "accelerator": {"platform": "gpu", "kind": "NVIDIA H200", "count": 1},
    "versions": {},
}
SECONDS = {"median": 5.0, "low": 3.98, "high": 6.34, "noisy": True}


def accuracy(config, *flags, **figures):
    command = " ".join(["python scripts/benchmark accuracy", f"--config=configs/{config}.py", *flags])
    usual = {"machine": CPU, "n": 10, "mean": 99.1637, "deviation": 0.041, "wall_seconds": SECONDS}
    return {"command": command, **usual, **figures}


def startup(**rest):
    table = [["until", "seconds", "range"], ["first | step", "2.24", "2.21 to 2.32"]]
    usual = {"commit": "ab87318", "date": "2026-11-28", "noisy": False, "machine": CPU, "table": table}
    return {"command": "python scripts/benchmark startup", **usual, **rest}


def rows(text):
    """The lines of a table as columns by heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *others = [line[2:-2].split(" | ") for line in lines]
    return [dict(zip(header, line, strict=False)) for line in others]


def test_the_page_has_a_place_for_each_kind_of_result():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert tuple(re.findall("<!-- results: (.+?) -->", page)) == KINDS
    assert set(map(results.kind, results.read(reference.RESULTS))) <= set(KINDS)


def test_pages_are_generated_without_jax():
    code = "import sys, reference; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", check=True)


def test_a_page_keeps_what_is_outside_its_markers_and_is_the_same_when_written_again():
    page = "a\n\n<!-- results: startup -->\nold\n<!-- end of results -->\n\nb\n\n"
    page += "<!-- results: input -->\n<!-- end of results -->\n"
    text = pages.update(page, [startup()])
    before, others = text.split("<!-- results: startup -->\n\n")
    first, between, second, after = re.split("\n\n<!-- .+? -->\n\n?", others)
    assert (before, between) == ("a\n\n", "b")
    assert (first, second, after) == (pages.block([startup()], "startup"), "Not measured yet.", "")
    assert pages.update(text, [startup()]) == text


def test_other_results_than_accuracies_are_tables_with_command_and_caption():
    other = startup(machine=GPU, commit=None, date=None, noisy=None, source="from elsewhere")
    assert pages.block([startup(noisy=True), accuracy("mnist"), other], "startup") == (
        "`python scripts/benchmark startup`\n\n"
        "| until | seconds | range |\n| --- | --- | --- |\n| first / step | 2.24 | 2.21 to 2.32 |\n\n"
        "AMD EPYC with 2 cores, Python 3.11.7, jaxlib 0.10.2; commit ab87318, 2026-11-28; noisy.\n\n"
        "`python scripts/benchmark startup`\n\n"
        "| until | seconds | range |\n| --- | --- | --- |\n| first / step | 2.24 | 2.21 to 2.32 |\n\n"
        "1 x NVIDIA H200; from elsewhere."
    )


def test_a_row_of_accuracies():
    entry = accuracy(
        "mnist_fast",
        "--repeats=10",
        "--config.dtype=bfloat16",
        train_seconds={"low": 847.0, "high": 923.0, "noisy": False},
        commit="ab87318",
        date="2026-11-28",
    )
    block = pages.block([entry], "accuracy")
    assert block.endswith(
        "|\n\nAMD EPYC with 2 cores, Python 3.11.7, jaxlib 0.10.2; commit ab87318, 2026-11-28."
    )
    assert rows(block) == [
        {
            "data set": "MNIST",
            "config": "`mnist_fast`, `dtype=bfloat16`",
            "test accuracy": "99.16% ± 0.04% (n = 10)",
            "whole process": "4.0 to 6.3 s, noisy",
            "training alone": "14 to 15 min",
        }
    ]


def test_a_row_of_one_run_with_a_cold_start_and_little_else():
    seconds = {"median": None, "low": 77, "high": 77}
    entry = accuracy("cifar10_best", n=1, mean=92.4, warm=False, wall_seconds=seconds, machine=GPU)
    del entry["deviation"]
    block = pages.block([entry], "accuracy")
    assert block.endswith("|\n\n1 x NVIDIA H200.")
    [row] = rows(block)
    assert row["test accuracy"] == "92.4% (n = 1)"
    assert row["whole process"] == "77 s, cold start"
    assert row["training alone"] == ""


def test_each_machine_has_a_table_of_accuracies_the_latest_first():
    entries = [accuracy("mnist", machine=GPU), accuracy("digits", date="2026-01-01"), accuracy("cifar10")]
    tables = pages.block(entries, "accuracy").split("data set")[1:]
    assert [[name in one for name in ("`digits`", "`mnist`", "`cifar10`")] for one in tables] == [
        [True, False, False], [False, True, False], [False, False, True]
    ]  # fmt: skip


def test_accuracies_are_sorted_by_set_and_config():
    names = ["own", "cifar10", "mnist", "mnist_fast", "digits"]
    entries = [accuracy("mnist", "--config.seed=1"), *map(accuracy, names)]
    found = [row["config"] for row in rows(pages.block(entries, "accuracy"))]
    assert found == ["`digits`", "`mnist_fast`", "`mnist`", "`mnist`, `seed=1`", "`cifar10`", "`own`"]


def test_the_front_page_has_the_latest_of_each_config_and_machine():
    entries = [
        accuracy("mnist", mean=3, n=1, date="2026-02-02"),
        accuracy("mnist", mean=1, n=1, date=None),
        accuracy("mnist", mean=2, n=1, date="2026-01-01", machine=GPU),
        accuracy("mnist", "--config.seed=1"),
    ]
    found = rows(pages.block(entries, "accuracy, short"))
    assert sorted((row["test accuracy"], row["machine"]) for row in found) == [
        ("2% (n = 1)", "NVIDIA H200"),
        ("3% (n = 1)", "AMD EPYC, 2 cores"),
    ]
    assert list(found[0]) == ["data set", "config", "test accuracy", "time", "machine"]
