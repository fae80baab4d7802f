import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.storage.history import MetricsFile, read_metrics, whole_intervals
from mnist_jax.system.errors import UserError

ROWS = [
    {"split": "train", "step": 10, "loss": 0.5},
    {"split": "validation", "step": 10, "loss": 0.4},
    {"split": "train", "step": 20, "loss": 0.3},
    {"split": "validation", "step": 20, "loss": 0.2},
    {"split": "test", "step": 10, "loss": 0.1},
]


def write(path: pathlib.Path, step: int, rows: list[dict]) -> None:
    file = MetricsFile(path, step)
    for row in rows:
        file.log(row)
    file.close()


def test_rows_are_lines_of_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, ROWS)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS == read_metrics(path)


def test_a_resumed_run_keeps_what_came_before_its_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, ROWS)
    write(path, 10, ROWS[2:])
    assert read_metrics(path) == ROWS
    write(path, 20, ROWS[4:])  # the run had ended but for its record: test is evaluated again
    assert read_metrics(path) == ROWS


@given(cut=st.integers(0, 400))
def test_a_file_cut_at_any_byte_is_taken_up_again(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    write(path, 0, ROWS)
    path.write_bytes(path.read_bytes()[:cut])
    kept = read_metrics(path)
    assert kept == ROWS[: len(kept)]
    write(path, 100, [{"split": "train", "step": 101}])
    expected = [row for row in kept if row["split"] != "test"]
    assert read_metrics(path) == [*expected, {"split": "train", "step": 101}]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    write(
        tmp_path / "metrics.jsonl",
        0,
        [{"split": "train", "step": 1, "loss": float("nan"), "norm": float("inf")}],
    )
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"split": "train", "step": 1, "loss": None, "norm": None}
    ]


@pytest.mark.parametrize(
    "line", ['["step"]', '{"step": 3}', '{"split": "train", "step": null}', "\\xff", "{", "3", ""]
)
def test_a_damaged_line_is_left_out(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, ROWS[:2])
    with path.open("a") as file:
        file.write(line + "\n")
    assert read_metrics(path) == ROWS[:2]
    write(path, 20, ROWS[2:3])
    assert read_metrics(path) == ROWS[:3]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be read"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_curve_has_whole_intervals_of_whole_rows():
    def row(step, steps):
        return {
            "split": "train",
            "step": step,
            "steps": steps,
            "epoch": step / 10,
            "loss": 1.0,
            "accuracy": 0.5,
        }

    whole = [row(10, 10), row(20, 10)]
    other = {"split": "validation", "step": 20}
    assert whole_intervals([*whole, row(21, 1), other]) == whole


def test_rows_that_were_changed_or_lost_are_told(tmp_path):
    path, told = tmp_path / "metrics.jsonl", []
    file = MetricsFile(path, 0)
    for row in ROWS[:2]:
        file.log(row)
    recorded = file.sha256
    for row in ROWS[2:]:
        file.log(row)
    file.close()
    MetricsFile(path, 10, recorded, told.append).close()
    assert not told  # the rows after step 10 are written anew in any case
    path.write_text(path.read_text().replace("0.4", "0.3"))
    MetricsFile(path, 10, recorded, told.append).close()
    assert f"{path}: rows up to step 10 were changed or lost" in told.pop()
    path.unlink()
    MetricsFile(path, 10, recorded, told.append).close()
    assert len(told) == 1


def test_a_row_that_a_full_disk_cuts_is_an_error(tmp_path, file_limit):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, 0)
    file.log(ROWS[0])
    file_limit(path.stat().st_size + 10)
    with pytest.raises(OSError, match="File too large") as caught:
        file.log(ROWS[1])
    assert caught.value.filename == str(path)
    assert read_metrics(path) == ROWS[:1]


def test_a_planted_link_is_replaced(tmp_path):
    path, target = tmp_path / "metrics.jsonl", tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    write(path, 0, ROWS)
    assert target.read_text() == "precious"
    assert read_metrics(path) == ROWS
