"""Sets made of image files, written here."""

import collections
import io
import json
import os
import pathlib
import re

import numpy as np
import pytest
import sklearn.datasets
from conftest import TINY, run_main
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from configs import folder
from mnist_jax import data
from mnist_jax.data.folders import stratified
from mnist_jax.system.errors import UserError


def write(path: pathlib.Path, level: int, size=(6, 4), mode="L", **options) -> None:
    """An image of one level of grey, (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path, **options)


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
    """Ten cats and twenty dogs to train on, two and one to test on; the level tells which image it is."""
    for number in range(30):
        write(tmp_path / "pets" / "train" / ("cat" if number < 10 else "dog") / f"{number}.png", 5 * number)
    for number, name in enumerate(("cat/a.png", "cat/deeper/b.BMP", "dog/c.gif")):
        write(tmp_path / "pets" / "test" / name, 200 + number)
    return tmp_path / "pets"


def load(root, **changes) -> data.Dataset:
    config = folder.get_config().data
    config.update(dir=str(root), cache_dir=str(root.parent / "cache"), image_size=0)
    config.update(**changes)
    return data.load(config)


def test_classes_are_folders_and_every_image_is_there_once(root):
    dataset = load(root)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.name == f"folder/pets/{dataset.version}"
    assert dataset.image_shape == (4, 6, 1)
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    labels = np.concatenate([dataset.train.labels, dataset.validation.labels])
    assert {(int(image.mean()) // 5, label) for image, label in zip(images, labels, strict=True)} == {
        (number, int(number >= 10)) for number in range(30)
    }
    assert sorted(zip(dataset.test.images.mean(axis=(1, 2, 3)), dataset.test.labels, strict=True)) == [
        (200, 0),
        (201, 0),
        (202, 1),
    ]


def test_the_validation_split_has_each_class_in_proportion(root):
    dataset = load(root, train="train[:70%]", validation="train[70%:]")
    assert np.bincount(dataset.train.labels).tolist() == [7, 14]
    assert np.bincount(dataset.validation.labels).tolist() == [3, 6]


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_any_slice_has_each_class_in_proportion(counts, cut):
    names = [str(label) for label in range(len(counts))]
    files = [[f"{name}/{k}" for k in range(count)] for name, count in zip(names, counts, strict=True)]
    order = stratified(files, names)
    assert sorted(order) == sorted((file, label) for label, of in enumerate(files) for file in of)
    total = sum(counts)
    start, stop = sorted(round(share * total) for share in cut)
    found = collections.Counter(label for _, label in order[start:stop])
    for label, count in enumerate(counts):
        expected = count * (stop - start) / total
        assert abs(found[label] - expected) <= 1 + count * len(counts) / total


def test_where_a_slice_has_room_for_some_classes_none_is_favoured():
    """A tenth of 100 classes with 4 files has 40 of them, whatever their sizes and names."""
    names = [f"{label:03}" for label in range(1000)]
    files = [[f"{name}/{k}" for k in range(4 + label % 2)] for label, name in enumerate(names)]
    order = stratified(files, names)
    last = [label for _, label in order[-len(order) // 10 :]]
    assert len(set(last)) == len(last)  # so it has as many classes as possible
    # Of each half 225 in 500 on average, with a deviation of at most 11.2.
    for chosen, share in ((lambda k: k < 500, 225), (lambda k: k % 2 == 0, 200), (lambda k: k % 2, 250)):
        assert abs(sum(map(chosen, last)) - share) < 4 * 11.2


def test_the_order_is_that_of_the_names_wherever_the_folder_lies(root, tmp_path):
    first = load(root)
    moved = root.rename(tmp_path / "elsewhere")
    second = load(moved)
    assert (first.fingerprint, first.version) == (second.fingerprint, second.version)
    np.testing.assert_array_equal(first.train.images, second.train.images)


def test_files_of_one_size_and_age_that_change_places_are_read_anew(tmp_path):
    """As unpacking an archive can leave them."""
    for number, name in enumerate(("dark", "light")):
        for k in range(10):
            for split in ("train", "test"):
                write(tmp_path / "pets" / split / name / f"{k}.bmp", 200 * number)
                os.utime(tmp_path / "pets" / split / name / f"{k}.bmp", (1.6e9, 1.6e9))
    train = tmp_path / "pets" / "train"
    before = load(tmp_path / "pets")
    for k in range(10):
        (train / "dark" / f"{k}.bmp").rename(tmp_path / "held")
        (train / "light" / f"{k}.bmp").rename(train / "dark" / f"{k}.bmp")
        (tmp_path / "held").rename(train / "light" / f"{k}.bmp")
    after = load(tmp_path / "pets").train
    assert load(tmp_path / "pets").fingerprint != before.fingerprint
    assert after.images[after.labels == 0].mean() > after.images[after.labels == 1].mean()


def test_a_changed_folder_is_read_anew_and_an_unchanged_one_is_not(root):
    first = load(root)
    kept = sorted((root.parent / "cache").rglob("images.npy"))
    assert load(root).fingerprint == first.fingerprint
    assert sorted((root.parent / "cache").rglob("images.npy")) == kept
    write(root / "train" / "cat" / "new.png", 255)
    changed = load(root)
    assert changed.fingerprint != first.fingerprint
    assert changed.version != first.version
    assert len(changed.train.labels) + len(changed.validation.labels) == 31


def test_sizes_are_unified_and_colour_is_kept_where_there_is_some(root):
    assert load(root, image_size=8).image_shape == (8, 8, 1)
    write(root / "train" / "cat" / "large.jpg", 77, size=(900, 700), mode="RGB", quality=95)
    with pytest.raises(UserError, match=r"differ in size .* fit them to one by --config.data.image_size"):
        load(root)
    dataset = load(root, image_size=8)
    assert dataset.image_shape == (8, 8, 3)
    assert 77 in dataset.train.images.mean(axis=(1, 2, 3)).round()


def test_splits_that_are_not_used_may_be_as_they_are(root):
    write(root / "new" / "parrot" / "1.png", 1)
    (root / ".git" / "refs").mkdir(parents=True)
    (root / "train" / "cat" / "Thumbs.db").touch()
    (root / "train" / "cat" / "._1.png").touch()
    assert load(root).class_names == ("cat", "dog")
    with pytest.raises(UserError, match=r"which has new \(1 examples\), test \(3 examples\), train \(30"):
        load(root, validation="valid")


def test_links_are_followed_once(root):
    write(root.parent / "elsewhere" / "x.png", 99)
    (root / "train" / "cat" / "linked").symlink_to(root.parent / "elsewhere")
    (root / "train" / "cat" / "linked again").symlink_to(root.parent / "elsewhere")
    (root / "train" / "cat" / "loop").symlink_to(root / "train" / "cat")
    dataset = load(root)
    assert len(dataset.train.labels) + len(dataset.validation.labels) == 31


def test_splits_may_have_names_that_are_no_identifiers(root):
    (root / "test").rename(root / "2024-test")
    assert len(load(root, test="2024-test").test.labels) == 3


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (
            lambda root: (root / "train" / "cat" / "5.png").write_bytes(b"no image"),
            "1 image cannot be read, listed in {list}: {root}/train/cat/5.png: it is not an image",
        ),
        (
            lambda root: [(root / "train" / "dog" / f"{n}.png").write_bytes(b"") for n in range(12, 17)],
            "5 images cannot be read, listed in {list}: {root}/train/dog/12.png: it is not an image that "
            "can be read, {root}/train/dog/13.png",
        ),
        (
            lambda root: [cut(path) for path in (root / "test" / "cat").rglob("*.*")],
            "2 images cannot be read, listed in {list}: {root}/test/cat/a.png: it is damaged",
        ),
        (
            lambda root: [cut(root / "test" / "cat" / "a.png"), (root / "train/dog/9.png").write_bytes(b"")],
            "2 images cannot be read",  # one shows by its head, the other when it is decoded
        ),
        (
            lambda root: (root / "test" / "cat" / "x.png").symlink_to("nowhere"),
            "{root}/test/cat/x.png: No such file or directory",
        ),
    ],
)
def test_images_that_cannot_be_read_are_all_listed_and_may_be_left_out(root, capsys, harm, expected):
    whole = load(root, skip_broken=True)
    assert whole.left_out == {}
    harm(root)
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        load(root)
    listed = pathlib.Path(re.search("listed in (.*?): ", str(caught.value))[1])
    assert listed.parent == root.parent / "cache" / "datasets" / "folder"
    assert expected.format(root=root, list=listed) in str(caught.value)
    broken = json.loads(listed.read_text())
    assert str(caught.value).startswith(f"{len(broken)} image")

    rest = load(root, skip_broken=True)
    assert rest.left_out == {"broken": len(broken)}
    assert f"files left out of {root}: {len(broken)} broken (listed in {listed})\n" in capsys.readouterr().err
    for name in broken:
        (root / name).unlink()
    assert load(root).fingerprint == rest.fingerprint


def test_a_broken_image_that_is_replaced_counts_again(root):
    path = root / "train" / "cat" / "5.png"
    whole, content = load(root), path.read_bytes()
    path.write_bytes(b"")
    assert load(root, skip_broken=True).left_out == {"broken": 1}
    path.write_bytes(content)
    assert load(root, skip_broken=True).fingerprint == whole.fingerprint


def cut(path: pathlib.Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    path.write_bytes(content.getvalue()[:50])


def test_what_is_left_out_is_counted_and_printed(root, capsys):
    before = load(root)
    for name in ("p.HEIC", "q.heic", "notes", "x.a b", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "train" / "cat" / name).touch()
    (root / "train" / "labels.csv").touch()
    (root / "other" / "bird").mkdir(parents=True)
    (root / "other" / "bird" / "not used.txt").touch()
    for made in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        write(root / "train" / "cat" / made / "deep" / "1-checkpoint.png", 1)
        write(root / "test" / made / "1-checkpoint.png", 1)
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    after = load(root)
    assert after.fingerprint == before.fingerprint
    assert after.left_out == {
        "hidden or system": 9,
        ".heic": 2,
        ".csv": 1,
        "without a known suffix": 2,
        "not a regular file": 1,
    }
    assert (
        f"files left out of {root}: 9 hidden or system, 2 .heic, 2 without a known suffix, 1 .csv, "
        "1 not a regular file" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", "config.data.dir must be the folder of your images (got '')"),
        ("nowhere", "config.data.dir must be a folder (got "),
    ],
)
def test_a_folder_that_is_none_is_reported_in_a_line(root, place, expected):
    config = folder.get_config().data
    config.dir = str(root.parent / place) if place else ""
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        data.load(config)
    assert expected in str(caught.value)


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_class_may_lack_images_in_a_split(root, capsys, lacking):
    write(root / ("train" if lacking == "test" else "test") / "eel" / "1.png", 1)
    dataset = load(root)
    assert dataset.class_names == ("cat", "dog", "eel")
    assert np.bincount(getattr(dataset, lacking).labels, minlength=3)[2] == 0
    assert f"{lacking} has no image of 1 of 3 classes (eel): " in capsys.readouterr().err


@pytest.mark.whole
def test_a_run_on_a_folder_is_as_good_as_one_on_the_set_it_was_made_of(tiny_run, tmp_path):
    """The bundled digits as PNGs, trained on as in conftest.TINY."""
    bunch = sklearn.datasets.load_digits()
    for number, (pixels, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        path = tmp_path / "digits" / ("train" if number < 1497 else "test") / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(path)
    done = run_main(
        *TINY,
        "--config.data.name=folder",
        f"--config.data.dir={tmp_path / 'digits'}",
        "--config.data.train=train[:1197]",
        "--config.data.validation=train[1197:]",
        "--config.data.test=test",
        f"--workdir={tmp_path / 'run'}",
    )
    assert (done.returncode, done.stderr) == (0, "")
    found, expected = (
        json.loads((run / "run.json").read_text())["metrics"]["test"] for run in (tmp_path / "run", tiny_run)
    )
    assert found["examples"] == expected["examples"] == 300
    # Another order gives another model; chance is 10%, with a deviation of 1.7% for 300 examples.
    assert min(found["accuracy"], expected["accuracy"]) > 0.3


def test_levels_that_the_training_split_gives_no_range_are_refused_by_name(root):
    deep = root / "test" / "cat" / "deep.tif"
    Image.fromarray(np.full((4, 6), 300, np.float32)).save(deep)
    with pytest.raises(
        UserError, match=f"^{deep}: its levels must be from 0 to 1 .got 300 to 300."
    ) as caught:
        load(root)
    assert "\n" not in str(caught.value)


def test_the_range_follows_from_what_is_trained_on(root, capsys):
    """12 bits stored in 16 for training, and one image of 16 bits in validation or test."""
    for path in sorted(root.rglob("*.png")):
        level = 4095 if path.parts[-3] == "train" else 65535
        Image.fromarray(np.full((4, 6), level, np.uint16)).save(path)
    dataset = load(root)
    assert (dataset.rendering.integer, dataset.rendering.clipped) == ([0, 4096], 1)
    assert (dataset.train.images == 255).all()
    assert (
        "integer levels from 0 up to 4096 become 0 to 255; clipped to that range: 1"
        in capsys.readouterr().err
    )
    other = load(root, train="test", validation="train[90%:]", test="train[:90%]")
    assert (other.rendering.integer, other.rendering.clipped) == ([0, 65536], 0)
    assert set(other.test.images.ravel()) == {4095 >> 8}
