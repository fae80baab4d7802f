"""The classes that folders name."""

import numpy as np
import pytest
from image_trees import TEST, TRAIN, found, make

from mnist_jax.data.classes import classes_of
from mnist_jax.system.errors import UserError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (f"{TRAIN} train/eel/ test/eel/", "there is no image in {root}/test/eel, {root}/train/eel; add some"),
        (f"{TRAIN} {TEST} train/eel/1.xcf", "there is no image but 1 .xcf in {root}/train/eel; add some"),
        ("train/a/1.png test/a/1.png", "{root} must hold at least two classes (got a)"),
        ("train/A/1.png train/b/1.png test/a/1.png", "(got 'A' in {root}/train and 'a' in {root}/test)"),
        ("train/\u00fc/1.png train/b/1.png test/u\u0308/1.png", "must have one spelling in all splits"),
        ("train/c\udce9/1.png train/b/1.png test/b/1.png", "must be UTF-8 (got 'c\\udce9')"),
    ],
)  # fmt: skip
def test_classes_that_make_no_set_are_reported_in_a_line(tmp_path, names, expected):
    one = found(make(tmp_path, names))
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        classes_of(tmp_path, one.used)
    assert expected.format(root=tmp_path) in str(caught.value)


def test_letters_of_both_cases_are_classes(tmp_path):
    one = found(make(tmp_path, "train/a/1.png train/A/1.png test/a/1.png"))
    assert classes_of(tmp_path, one.used) == ("A", "a")


def test_classes_are_in_the_order_of_the_numbers_in_their_names(tmp_path):
    names = [*map(str, range(12)), "class2", "class10", "class 1", "07", "x", "Y", "\u0663"]
    rng = np.random.default_rng(0)
    one = found(
        make(tmp_path, " ".join(f"train/{name.replace(' ', '_')}/1.png" for name in rng.permutation(names)))
    )
    expected = "0 1 2 3 4 5 6 07 7 8 9 10 11 Y class2 class10 class_1 x \u0663"
    assert classes_of(tmp_path, one.used) == tuple(expected.split())
