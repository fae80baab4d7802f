import os
import pathlib
import pickle
import resource

import numpy as np
import pytest
import sklearn.metrics
from cases import predictions, predictions_from
from hypothesis import given

from mnist_jax.metrics.predictions import ensemble, load_predictions, predictions_of, save_predictions
from mnist_jax.system.errors import UserError


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(case=predictions())
def test_the_confusion_matrix_is_that_of_scikit_learn(case):
    classes = np.arange(case.log_probabilities.shape[1])
    expected = sklearn.metrics.confusion_matrix(case.labels, case.predicted, labels=classes)
    np.testing.assert_array_equal(case.confusion, expected)


def test_the_file_gives_back_what_was_saved(tmp_path):
    case = predictions_from([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], [2, 0])
    save_predictions(tmp_path / "p.npz", case, 7, ["a", "class 10", "\u00fc"])
    step, again = load_predictions(tmp_path / "p.npz")
    assert step == 7
    with np.load(tmp_path / "p.npz", allow_pickle=False) as arrays:
        assert arrays["class_names"].tolist() == ["a", "class 10", "\u00fc"]
    for field, expected in zip(again, case, strict=True):
        np.testing.assert_array_equal(field, expected)
        assert field.dtype == expected.dtype


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and then nothing"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "p.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"p\.npz cannot be read: "):
        load_predictions(path)


def packed(path, save=np.savez, **arrays):
    some = {"step": 1, "labels": np.zeros(2, np.int32), "log_probabilities": np.zeros((2, 3), np.float32)}
    save(path, **{**some, **arrays})


def test_what_is_packed_here_is_taken(tmp_path):
    packed(tmp_path / "p.npz")
    assert load_predictions(tmp_path / "p.npz")[0] == 1


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"save": np.savez_compressed}, "step.npy must be stored as it is, not compressed"),
        ({"labels": np.array([0, 3])}, r"labels must be from 0 to 2 \(got 0 to 3\)"),
        ({"labels": np.array([0, -1])}, r"labels must be from 0 to 2 \(got -1 to 0\)"),
        ({"labels": np.zeros(2)}, "labels must be integers"),
        ({"labels": np.zeros(0, int), "log_probabilities": np.zeros((0, 3))}, r"got the shapes \(0, 3\)"),
        ({"labels": np.zeros(3, int)}, r"got the shapes \(2, 3\) and \(3,\)"),
        ({"log_probabilities": np.zeros((2, 50_000), np.float16)}, "examples and 1 to 4096 classes"),
        ({"log_probabilities": np.zeros((2, 3), int)}, "log_probabilities numbers"),
        ({"log_probabilities": np.zeros(2)}, "not enough values"),
    ],
)
def test_arrays_that_are_no_predictions_are_refused(tmp_path, arrays, told):
    packed(tmp_path / "p.npz", **arrays)
    with pytest.raises(UserError, match=rf"^\S+p\.npz cannot be read: .*{told}[^\n]*$"):
        load_predictions(tmp_path / "p.npz")


@pytest.mark.parametrize("size", ["(1000000, 4000)", "(2, 4000000000)"])
def test_a_size_that_is_only_declared_is_not_believed(tmp_path, size):
    """An array of 48 bytes whose head says that it has gigabytes."""
    packed(tmp_path / "p.npz", log_probabilities=np.zeros((2, 3), np.float64))
    content = (tmp_path / "p.npz").read_bytes()
    said = b"'shape': (2, 3), }"
    assert content.count(said) == 1
    longer = f"'shape': {size}, }}".encode()
    whole = content[: content.index(said)] + longer + content[content.index(said) + len(said) :]
    cut = whole.index(b" " * (len(longer) - len(said)), whole.index(longer) + len(longer))
    (tmp_path / "p.npz").write_bytes(whole[:cut] + whole[cut + len(longer) - len(said) :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"p\.npz cannot be read: "):
        load_predictions(tmp_path / "p.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


class Evil:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("executed"),)


@pytest.mark.parametrize("packed", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch, packed):
    monkeypatch.chdir(tmp_path)
    if packed:
        np.savez("p.npz", step=1, labels=np.array([Evil()], object), log_probabilities=np.zeros((1, 2)))
    else:
        pathlib.Path("p.npz").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"p\.npz cannot be read: "):
        load_predictions(tmp_path / "p.npz")
    assert not pathlib.Path("executed").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.npz")
    with pytest.raises(UserError, match="it is no regular file"):
        load_predictions(tmp_path / "p.npz")


def test_an_ensemble_averages_probabilities():
    rng, labels = np.random.default_rng(0), np.array([0, 1, 2, 1])
    shares = rng.dirichlet(np.ones(3), (5, 4))
    said = [predictions_of(np.log(one).astype(np.float32), labels) for one in shares]
    np.testing.assert_allclose(ensemble(said).probabilities, shares.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(ensemble(said).predicted, shares.mean(axis=0).argmax(axis=1))
