"""The campaign passes an undisturbed run and finds the errors of others."""

import json
import shutil
from types import SimpleNamespace

import pytest
from conftest import TINY, run_script
from torture.faults import stopped_wrongly
from torture.rig import Ended, Place, Rig

from mnist_jax.metrics.predictions import load_predictions, save_predictions
from mnist_jax.system.files import sealed

pytestmark = pytest.mark.whole


@pytest.fixture
def place(tiny_run, tmp_path):
    """A copy of a finished run, to compare with it."""
    shutil.copytree(tiny_run, tmp_path / "run")
    for caches in ("caches", "other"):
        (tmp_path / caches).mkdir()
    return Place(tmp_path / "run", tmp_path / "caches")


def wrong(place, tiny_run, status=0, said=""):
    reference = Place(tiny_run, place.caches.with_name("other"))
    return Rig.wrong(SimpleNamespace(reference=reference), place, Ended(status, said))


def change_record(place, **fields):
    path = place.workdir / "run.json"
    record = json.loads(path.read_text())
    del record["record_sha256"]
    path.write_bytes(sealed({**record, **fields}))


def change_predictions(place):
    step, said = load_predictions(place.workdir / "predictions.npz")
    said.log_probabilities[0] = said.log_probabilities[0][::-1]
    save_predictions(place.workdir / "predictions.npz", said, step, tuple("0123456789"))


def change_history(place, change):
    path = place.workdir / "metrics.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda place: None, None),
        (lambda place: change_record(place, params_sha256="0" * 64), "params_sha256 is 000"),
        (lambda place: change_record(place, status="running"), "status is running, not finished"),
        (lambda place: (place.workdir / "run.json").write_text("{"), "is damaged"),
        (lambda place: change_history(place, lambda rows: rows[1:]), "steps twice or not at all before 20"),
        (lambda place: change_history(place, lambda rows: [rows[0], *rows]), "steps twice or not at all"),
        (lambda place: change_history(place, lambda rows: rows[:-1]), "other evaluations"),
        (lambda place: (place.workdir / "run.json.partial").touch(), "left run.json.partial"),
        (lambda place: (place.workdir / "checkpoints" / "9.tmp").mkdir(), "left checkpoints/9.tmp"),
        (lambda place: (place.caches / "set.building").mkdir(), "left set.building"),
        (
            lambda place: change_history(place, lambda rows: [r for r in rows if '"train"' not in r]),
            "ends at 0",
        ),
        (lambda place: (place.workdir / "predictions.npz").unlink(), "lacks predictions.npz"),
        (lambda place: (place.workdir / "report.html").unlink(), "lacks report.html"),
        (lambda place: shutil.rmtree(place.workdir / "checkpoints" / "75"), "lacks checkpoints/75"),
        (lambda place: change_predictions(place), "other predictions"),
    ],
)
def test_what_differs_from_an_undisturbed_run_is_found(place, tiny_run, harm, found):
    harm(place)
    told = wrong(place, tiny_run)
    assert (told == []) if found is None else any(found in one for one in told)


def test_how_it_ended_counts_too(place, tiny_run):
    assert wrong(place, tiny_run, status=1, said="boom") == ["status 1: boom"]
    assert wrong(place, tiny_run, said="Traceback ...") == ["printed a traceback: Traceback ..."]


@pytest.mark.parametrize(
    ("kind", "status", "late", "steps", "wrong"),
    [
        ("SIGTERM", 143, False, 75, None),
        ("SIGTERM", 143, False, 74, "was not saved"),
        ("SIGTERM", 0, True, 75, None),
        ("SIGTERM", 0, False, 75, "it was not stopped"),
        ("SIGTERM", -15, False, 75, "status -15"),
        ("SIGTERM", 130, False, 75, "status 130"),
        ("the pipe closes", 0, False, 75, None),
    ],
)
def test_how_a_signal_has_to_end_a_run(place, kind, status, late, steps, wrong):
    change_record(place, status="interrupted", steps=steps)
    found = stopped_wrongly(kind, Ended(status, ""), place, late=late)
    assert found == [] if wrong is None else wrong in found[0]


def torture(*arguments):
    return run_script("torture", *arguments)


@pytest.mark.long
def test_a_run_that_is_killed_comes_through():
    done = torture(
        "kills", "--cases=1", *TINY, "--config.augment.rotation=10.0", "--config.augment.elastic=1.0"
    )
    assert done.returncode == 0, done.stdout
    assert "nothing wrong" in done.stdout


def test_a_config_that_does_not_run_is_told():
    done = torture("kills", TINY[0], "--config.train.epochs=0")
    assert done.returncode == 2
    assert "an undisturbed run ends with status 2" in done.stderr
