"""TFDS on a small set defined here, prepared for real; the network is never asked."""

import importlib.util
import json
import multiprocessing
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from conftest import ROOT

from configs import default
from mnist_jax import data
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

RNG = np.random.default_rng(0)
IMAGES = {
    "train": RNG.integers(0, 256, (300, 6, 5, 3), np.uint8),
    "test": RNG.integers(0, 256, (7, 6, 5, 3), np.uint8),
}


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """300 + 7 noise images of three classes."""

    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        label = tfds.features.ClassLabel(names=["ant", "bee", "cat"])
        features = tfds.features.FeaturesDict(
            {"picture": tfds.features.Image(shape=(6, 5, 3)), "kind": label}
        )
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("picture", "kind"))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in IMAGES}

    def _generate_examples(self, split):
        for index, image in enumerate(IMAGES[split]):
            yield index, {"picture": image, "kind": index % 3}


class MixedSizes(tfds.core.GeneratorBasedBuilder):
    """Grey images of three sizes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 1)),
                "label": tfds.features.ClassLabel(num_classes=2),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for index in range(12):
            yield index, {"image": np.full((8 + index % 3, 9, 1), 100, np.uint8), "label": index % 2}


class OddImages(tfds.core.GeneratorBasedBuilder):
    """Float images, and a test split without labels."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=name) for name in ("float32", "uint8"))

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(
                    shape=(4, 4, 1),
                    dtype=np.dtype(self.builder_config.name).type,
                    encoding_format=None if self.builder_config.name == "float32" else "png",
                ),
                "label": tfds.features.ClassLabel(num_classes=2),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(True), "test": self._generate_examples(False)}

    def _generate_examples(self, labelled):
        for index in range(10):
            image = np.ones((4, 4, 1), self.builder_config.name)
            yield index, {"image": image, "label": index % 2 if labelled else -1}


needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TFDS prepares sets by TensorFlow"
)


def config_of(name: str, folder: pathlib.Path, **changes):
    config = default.get_config().data
    config.update(
        name=name,
        data_dir=str(folder / "tfds"),
        cache_dir=str(folder / "cache"),
        train="train[:-4]",
        validation="train[-4:]",
        test="test",
        **changes,
    )
    return config


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> pathlib.Path:
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("prepared")
    data.load(config_of("tiny_pictures", folder))
    return folder


def test_a_tfds_set_is_prepared_decoded_and_cached(prepared):
    builder = tfds.builder("tiny_pictures", data_dir=prepared / "tfds", file_format="array_record")
    expected = list(builder.as_data_source("train[:-4]"))
    dataset = data.load(config_of("tiny_pictures", prepared))
    assert (dataset.name, dataset.version) == ("tiny_pictures/1.2.3", "1.2.3")
    assert dataset.class_names == ("ant", "bee", "cat")
    assert dataset.image_shape == (6, 5, 3)
    assert isinstance(dataset.train.images, np.memmap)
    np.testing.assert_array_equal(dataset.train.images, [example["picture"] for example in expected])
    np.testing.assert_array_equal(dataset.train.labels, [example["kind"] for example in expected])
    assert len(dataset.test.labels) == 7
    stored = {image.tobytes() for image in np.concatenate([dataset.train.images, dataset.validation.images])}
    assert stored == {image.tobytes() for image in IMAGES["train"]}


def test_the_fingerprint_follows_the_content(prepared, tmp_path):
    again = data.load(config_of("tiny_pictures", tmp_path))
    assert again.fingerprint == data.load(config_of("tiny_pictures", prepared)).fingerprint
    fitted = data.load(config_of("tiny_pictures", prepared, image_size=4))
    assert fitted.fingerprint != again.fingerprint


def test_a_prepared_set_is_read_without_tensorflow(prepared):
    program = f"""
import sys
sys.path[:0] = {[str(ROOT), *(str(ROOT / "tests" / name) for name in ("", "data", "helpers"))]}
import test_tfds_sets
from mnist_jax import data
config = test_tfds_sets.config_of("tiny_pictures", test_tfds_sets.pathlib.Path({str(prepared)!r}))
config.cache_dir += "_of_its_own"
data.load(config)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def load_fingerprint(folder: pathlib.Path) -> str:
    return data.load(config_of("tiny_pictures", folder)).fingerprint


@pytest.mark.long
def test_processes_that_prepare_at_once_do_not_harm_each_other(prepared, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert set(pool.map(load_fingerprint, [tmp_path] * 2)) == {load_fingerprint(prepared)}


def test_what_a_killed_preparation_left_is_cleared_away(prepared, tmp_path):
    left = tmp_path / "tfds" / "tiny_pictures" / ".preparing" / "tiny_pictures" / "incomplete.ABC_1.2.3"
    left.mkdir(parents=True)
    (left / "half").touch()
    assert load_fingerprint(tmp_path) == load_fingerprint(prepared)
    assert {path.name for path in (tmp_path / "tfds" / "tiny_pictures").iterdir()} == {"1.2.3", ".lock"}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_files_of_a_prepared_set_are_named(prepared, tmp_path, damage):
    shutil.copytree(prepared / "tfds", tmp_path / "tfds")
    (records,) = (tmp_path / "tfds").rglob("*train.array_record*")
    if damage == "cut":
        records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    else:
        records.unlink()
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        data.load(config_of("tiny_pictures", tmp_path))
    assert "cannot be read" in str(caught.value)
    assert f"remove {tmp_path}" in str(caught.value)


@needs_tensorflow
def test_images_of_different_sizes_need_a_size(tmp_path):
    with pytest.raises(UserError, match="config.data.image_size"):
        data.load(config_of("mixed_sizes", tmp_path))
    dataset = data.load(config_of("mixed_sizes", tmp_path, image_size=8))
    assert dataset.train.images.shape == (8, 8, 8, 1)
    assert (dataset.train.images == 100).all()


@needs_tensorflow
def test_images_that_are_not_uint8_and_splits_without_labels_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"must be uint8 \(got image of float32\)"):
        data.load(config_of("odd_images/float32", tmp_path))
    with pytest.raises(
        UserError, match="test of odd_images/uint8/1.0.0 has labels from -1 to -1, not of its 2"
    ):
        data.load(config_of("odd_images/uint8", tmp_path))


def test_two_copies_of_a_set_have_caches_of_their_own(prepared, tmp_path, capsys):
    shutil.copytree(prepared / "tfds", tmp_path / "tfds", copy_function=shutil.copy)  # with other times
    for folder in (prepared, tmp_path, prepared, tmp_path):
        config = config_of("tiny_pictures", folder)
        config.cache_dir = str(tmp_path / "cache")
        data.load(config)
    assert len(list((tmp_path / "cache").rglob("train-*/images.npy"))) == 2
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny_picture", "did you mean 'tiny_pictures'?"),
        ("qqqqqqqq", "see https://www.tensorflow.org/datasets/catalog"),
        ("tiny_pictures:9.9.9", "cannot be loaded at version 9.9.9"),
        ("tiny pictures", "is 'tiny pictures': not a name of TFDS"),
        ("/tmp", "is '/tmp': not a name of TFDS"),
        ("tiny_pictures/large", "large"),
        ("emnist/leters", "is 'emnist/leters': no such config; did you mean 'emnist/letters'?"),
        ("mnist/qqqqqqqqqqqqqq", "no such config; TFDS has mnist"),
        ("emnist/qqqqqqqqqqqqqq:3.1.0", "no such config; TFDS has emnist/byclass, emnist/bymerge, "),
        (
            "imdb_reviews",
            "must have one Image and one ClassLabel, or supervised_keys that name them (got label (",
        ),
        ("huggingface:mnist", "(got 'huggingface:mnist'); those of huggingface bring code of their own"),
        ("mlds:mnist:1.0.0", "those of mlds bring code of their own"),
    ],
)
def test_a_set_that_is_not_there_is_told_in_one_line(tmp_path, name, expected):
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        data.load(config_of(name, tmp_path))
    assert expected in str(caught.value)


@needs_tensorflow
def test_no_network_shows_at_once(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr("requests.head", no_network)
    with pytest.raises(UserError, match="svhn_cropped is not prepared: .* cannot be reached .*manual_dir"):
        data.load(config_of("svhn_cropped", tmp_path))


def test_without_tensorflow_a_set_that_it_prepares_is_refused_before_any_download(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("requests.head", None)
    with pytest.raises(UserError, match=r"^svhn_cropped/3.1.0 is not prepared yet.*pip install '\.\[tfds\]'"):
        data.load(config_of("svhn_cropped", tmp_path))


@needs_tensorflow
def test_a_set_prepared_for_tensorflow_is_refused(tmp_path):
    tfds.builder("tiny_pictures", data_dir=tmp_path / "tfds", file_format="tfrecord").download_and_prepare()
    with pytest.raises(UserError, match="tfds convert_format .*/tfds/tiny_pictures`.*config.data.data_dir"):
        data.load(config_of("tiny_pictures", tmp_path))


class OwnPictures(tfds.core.GeneratorBasedBuilder):
    """Different features in each configuration, without supervised_keys."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = tuple(
        tfds.core.BuilderConfig(name=name)
        for name in ("plain", "two_images", "two_labels", "deep", "tfrecord")
    )

    def _features(self):
        image, label = tfds.features.Image(shape=(4, 4, 1)), tfds.features.ClassLabel(num_classes=2)
        more = {
            "two_images": {"mask": tfds.features.Image(shape=(4, 4, 1))},
            "two_labels": {"colour": tfds.features.ClassLabel(num_classes=2)},
            "deep": {"parts": tfds.features.Sequence({"inner": tfds.features.Image(shape=(4, 4, 1))})},
        }
        return {"picture": image, "sign": label, **more.get(self.builder_config.name, {})}

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self._features()))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        image = np.zeros((4, 4, 1), np.uint8)
        values = {"sign": 1, "colour": 0, "parts": [{"inner": image}]}
        for index in range(10):
            yield index, {name: values.get(name, image) for name in self._features()}


def own(folder: pathlib.Path, kind: str, file_format: str = "array_record") -> pathlib.Path:
    """Prepares such a set; as `own_KIND` nobody here has its code."""
    built = OwnPictures(config=kind, data_dir=folder / "built", file_format=file_format)
    built.download_and_prepare()
    place = folder / "tfds" / f"own_{kind}" / "1.0.0"
    shutil.copytree(built.data_dir, place)
    for path in place.glob("own_pictures*"):
        path.rename(place / path.name.replace("own_pictures", f"own_{kind}"))
    info = place / "dataset_info.json"
    fields = json.loads(info.read_text())
    info.write_text(json.dumps({**fields, "name": f"own_{kind}", "configName": ""}))
    return place


@needs_tensorflow
@pytest.mark.parametrize("kind", ["plain", "deep"])
def test_the_only_image_and_label_are_found_by_their_types(tmp_path, kind):
    own(tmp_path, kind)
    dataset = data.load(config_of(f"own_{kind}", tmp_path))
    assert (dataset.image_shape, set(dataset.train.labels)) == ((4, 4, 1), {1})


@needs_tensorflow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("two_images", r"supervised_keys that name them \(got .*mask \(Image\).*picture \(Image\)"),
        ("two_labels", r"supervised_keys that name them \(got .*colour \(ClassLabel\)"),
        (
            "tfrecord",
            "tfds convert_format --out_file_format=array_record --dataset_dir=.*/tfds/own_tfrecord`",
        ),
    ],
)
def test_sets_of_ones_own_that_cannot_be_read_are_reported_with_what_they_have(tmp_path, kind, expected):
    own(tmp_path, kind, "tfrecord" if kind == "tfrecord" else "array_record")
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        data.load(config_of(f"own_{kind}", tmp_path))
    assert re.search(expected, str(caught.value))


HOSTILE = "tensorflow_datasets.core.features.image_feature.Image"


@needs_tensorflow
@pytest.mark.parametrize(
    "form",
    [
        lambda text: text.replace(HOSTILE, "evil.payload.Image"),
        lambda text: text.replace(HOSTILE, "evil.payload.Image").replace(
            "pythonClassName", "python_class_name"
        ),
        lambda text: text.replace(HOSTILE, "tensorflow_datasets.core.features.\\u002e./evil.payload.Image"),
        lambda text: json.dumps({"type": "evil.payload.Image", "content": {}}),
        lambda text: json.dumps(
            {
                "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
                "jsonFeature": {"json": json.dumps({"image": {"type": "evil.payload.Image", "content": {}}})},
            }
        ),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "deep"])
def test_a_set_that_names_code_is_refused_before_the_code_runs(tmp_path, monkeypatch, kind, form):
    place = own(tmp_path, kind)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "payload.py").write_text(
        f"open({str(tmp_path / 'it ran')!r}, 'w')\n"
        "import tensorflow_datasets as tfds\n"
        "class Image(tfds.features.Image): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    features = place / "features.json"
    features.write_text(form(features.read_text()))
    with pytest.raises(UserError, match="^features.json .* must name features of tensorflow_datasets only"):
        data.load(config_of(f"own_{kind}", tmp_path))
    assert not (tmp_path / "it ran").exists()


@needs_tensorflow
def test_a_hostile_set_would_run_its_code_were_it_not_refused(tmp_path, monkeypatch):
    """Otherwise the tests above would prove nothing."""
    place = own(tmp_path, "plain")
    (tmp_path / "evil_too.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    features = place / "features.json"
    features.write_text(features.read_text().replace(HOSTILE, "evil_too.Image"))
    with pytest.raises(ValueError, match="Unrecognized FeatureConnector"):
        tfds.builder("own_plain", data_dir=tmp_path / "tfds", file_format="array_record")
    assert (tmp_path / "it ran").exists()


@needs_tensorflow
@pytest.mark.parametrize("declared", ["9", "11", "100000000", "1000000000000"])
def test_the_size_that_a_set_declares_is_held_against_its_files(tmp_path, declared):
    info = own(tmp_path, "plain") / "dataset_info.json"
    info.write_text(info.read_text().replace('["10"]', f'["{declared}"]'))
    assert declared in info.read_text()
    with pytest.raises(UserError, match=f"cannot be read: its files hold 10 examples, .* {int(declared):,};"):
        data.load(config_of("own_plain", tmp_path))


@needs_tensorflow
def test_the_module_that_a_dataset_info_names_is_not_imported(tmp_path, monkeypatch):
    info = own(tmp_path, "plain") / "dataset_info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "moduleName": "evil_info"}))
    (tmp_path / "evil_info.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    data.load(config_of("own_plain", tmp_path))
    assert "evil_info" not in sys.modules
