"""Folders as splits and classes."""

import pytest
from image_trees import TEST, TRAIN, found, make

from mnist_jax.system.errors import UserError


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (f"{TRAIN} {TEST}", {}, ("train[:90%]", "train[90%:]", "test")),
        (f"{TRAIN} {TEST} val/a/1.png", {}, ("train", "val", "test")),
        ("Train/a/1.png Validation/a/1.png TESTING/a/1.png", {}, ("Train", "Validation", "TESTING")),
        (f"{TRAIN} val/a/1.png", {"test": "val"}, ("train[:90%]", "train[90%:]", "val")),
        (TRAIN, {}, ("train[:80%]", "train[80%:90%]", "train[90%:]")),
        ("a/1.png b/1.png b/more/2.png", {}, ("train[:80%]", "train[80%:90%]", "train[90%:]")),
        ("valid/1.png invalid/1.png", {}, ("train[:80%]", "train[80%:90%]", "train[90%:]")),
        (
            "2024/a/1.png 2025/a/1.png",
            {"train": "2024[:90%]", "validation": "2024[90%:]", "test": "2025"},
            ("2024[:90%]", "2024[90%:]", "2025"),
        ),
        (
            f"{TRAIN} {TEST}",
            {"train": "train[:70%]", "validation": "train[70%:]"},
            ("train[:70%]", "train[70%:]", "test"),
        ),
        (
            f"{TRAIN} {TEST} val/a/1.png",
            {"validation": "train[90%:]", "train": "train[:90%]"},
            ("train[:90%]", "train[90%:]", "test"),
        ),
    ],
)
def test_the_folders_choose_the_splits_that_the_config_leaves_open(tmp_path, names, given, expected):
    one = found(make(tmp_path, names), **given)
    assert tuple(one.expressions[role] for role in ("train", "validation", "test")) == expected
    assert len(one.notes) == (len(given) < 3)
    if one.notes:
        roles = zip(("train", "validation", "test"), expected, strict=True)
        assert one.notes[0].startswith(
            f"splits of {tmp_path}: " + ", ".join(f"{role}={split}" for role, split in roles)
        )


def test_folders_that_are_not_used_are_named(tmp_path):
    one = found(make(tmp_path, f"{TRAIN} {TEST} new/parrot/1.png .git/refs/ __MACOSX/train/a/1.png"))
    assert one.notes[0].endswith("; not used: new")
    assert set(one.used) == {"train", "test"}


@pytest.mark.parametrize(
    ("names", "place", "expected"),
    [
        ("x/pets/train/a/1.png x/pets/test/a/1.png", "", "test and train (got {root}, some levels"),
        (f"{TRAIN} {TEST}", "train", "which is one of them); give --config.data.dir={root}"),
        (f"{TRAIN} {TEST}", "train/a", "(got {root}/train/a, which has 1 images and no folders of classes)"),
        (f"{TRAIN} val/a/1.png", "", "must have a test folder beside train and val; to test on"),
        (f"{TRAIN} {TEST} val/a/1.png valid/a/1.png", "", "one validation folder (got val and valid)"),
        ("test/a/1.png test/b/1.png", "", "{root} must have a train folder (got test)"),
        ("2024/a/1.png 2025/a/1.png", "", "(got {root}, whose 2024 holds folders: a); rename its"),
        ("train/1.png test/2.png", "", "{root}/test must hold folders of classes (got 1 images outside"),
        (f"{TRAIN} {TEST} train/1.png", "", "{root}/train must hold folders of classes (got 1"),
        ("a/1.png b/1.png 3.png", "", "{root} must hold folders of classes (got 1 images outside"),
        ("readme.txt", "", "which has 0 images and no folders of classes"),
    ],
)  # fmt: skip
def test_another_layout_is_reported_with_the_flag_or_move_that_fixes_it(tmp_path, names, place, expected):
    make(tmp_path, names)
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        found(tmp_path / place)
    assert expected.format(root=tmp_path) in str(caught.value)


def test_a_folder_that_cannot_be_entered_is_reported(tmp_path, monkeypatch):
    make(tmp_path, f"{TRAIN} {TEST}")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("mnist_jax.data.finding.os.scandir", refuse)
    with pytest.raises(UserError, match="train/a cannot be read: Permission denied|cannot be read"):
        found(tmp_path)
