import gzip
import io
import json
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from configs import table
from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.data import csv_tables
from mnist_jax.system.errors import UserError

DRAWN = np.random.default_rng(0)
LABELS = DRAWN.permutation(np.arange(60) % 3 + 1)
GREY = DRAWN.integers(0, 256, (60, 5, 5), np.uint8)
COLOUR = DRAWN.integers(0, 256, (60, 4, 4, 3), np.uint8)


def load(path, **changes):
    config = table.get_config()
    config.data.update({"dir": str(path), "cache_dir": str(path.parent / "cache")} | changes)
    return data.load(validate(config).data)


def write_npz(path, images=GREY, labels=LABELS):
    np.savez_compressed(path, images=images, labels=labels)


def write_csv(path, images=GREY, labels=LABELS):
    pixels = images.reshape(len(images), -1)
    lines = [",".join(["label", *(f"pixel{k}" for k in range(pixels.shape[1]))])]
    lines += [",".join([str(label), *map(str, row)]) for label, row in zip(labels, pixels, strict=True)]
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_parquet(path, images=GREY, labels=LABELS, features=None, names=("image", "label")):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": png(image), "path": None} for image in images], kind)
    made = pa.table(dict(zip(names, (rows, pa.array(labels)), strict=True)))
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, path, row_group_size=17)


def write_paths(path, images=GREY, labels=LABELS, splits=None):
    lines = ["path,label" + (",split" if splits else "")]
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        (path.parent / "pictures").mkdir(exist_ok=True)
        (path.parent / "pictures" / f"{k}.png").write_bytes(png(image))
        lines.append(f"pictures/{k}.png,{label}" + (f",{splits[k]}" if splits else ""))
    path.write_text("\n".join(lines))


WRITERS = {
    "set.npz": write_npz, "set.csv": write_csv, "set.csv.gz": write_csv, "set.parquet": write_parquet,
    "paths.csv": write_paths,
}  # fmt: skip


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_same_rows_have_the_same_fingerprint_in_every_container(tmp_path, images):
    found = {}
    for name, write in WRITERS.items():
        write(tmp_path / name, images)
        found[name] = load(tmp_path / name)
    assert len({(one.fingerprint, one.version) for one in found.values()}) == 1
    one = found["set.parquet"]
    assert one.name == "table/set"
    assert one.class_names == ("1", "2", "3")
    assert one.image_shape == (images.reshape(*images.shape[:3], -1)).shape[1:]
    assert [len(split.labels) for split in (one.train, one.validation, one.test)] == [48, 6, 6]
    for split in (one.train, one.validation, one.test):  # stratified by class
        assert len(set(np.bincount(split.labels))) == 1
    seen = {image.tobytes(): label for image, label in zip(images, LABELS, strict=True)}
    for split in (one.train, one.validation, one.test):
        assert [seen[image.tobytes()] for image in split.images] == (split.labels + 1).tolist()
    write_npz(tmp_path / "set.npz", images, np.roll(LABELS, 1))
    assert load(tmp_path / "set.npz").fingerprint != one.fingerprint


@pytest.mark.parametrize("name", ["set.npz", "set.csv"])
def test_flat_colour_images_are_rows_of_pixels_and_that_is_said(tmp_path, capsys, name):
    WRITERS[name](tmp_path / name, COLOUR.reshape(60, -1))
    write_npz(tmp_path / "whole.npz", COLOUR)
    assert load(tmp_path / name).fingerprint == load(tmp_path / "whole.npz").fingerprint
    said = capsys.readouterr().err
    assert said.count("are taken as 4 rows of 4 pixels, red, green and blue of each") == 1


def test_what_takes_long_to_decode_is_decoded_once_and_again_when_it_changes(tmp_path, monkeypatch):
    write_paths(tmp_path / "a.csv")
    first = load(tmp_path / "a.csv")
    with monkeypatch.context() as patched:
        patched.setattr("mnist_jax.data.image_files.decode", None)
        assert load(tmp_path / "a.csv").fingerprint == first.fingerprint
    (tmp_path / "pictures" / "0.png").write_bytes(png(255 - GREY[0]))
    assert load(tmp_path / "a.csv").fingerprint != first.fingerprint


@pytest.mark.parametrize("name", WRITERS)
def test_images_are_fitted(tmp_path, name):
    WRITERS[name](tmp_path / name)
    assert load(tmp_path / name, image_size=8).image_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        (["class10", "class9", "b"], ("b", "class9", "class10")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["3.0", "3", "12"], ("3", "12")),
        (["dog", "3", "cat"], ("3", "cat", "dog")),
    ],
)
@pytest.mark.parametrize("name", ["set.npz", "set.csv", "paths.csv"])
def test_classes_are_named_by_the_labels_and_numbers_sort_as_numbers(tmp_path, labels, names, name):
    WRITERS[name](tmp_path / name, labels=[labels[k % 3] for k in range(60)])
    assert load(tmp_path / name).class_names == names


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "test"), {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}),
        (("train", "val", "test"), {"train": "train", "validation": "val", "test": "test"}),
    ],
)
def test_splits_are_found_by_their_names(tmp_path, splits, expected, capsys):
    k = len(splits)
    arrays = {f"{split}_images": GREY[i::k] for i, split in enumerate(splits)}
    arrays |= {f"{split}_labels": LABELS[i::k] for i, split in enumerate(splits)}
    np.savez(tmp_path / "set.npz", **arrays, ids=LABELS)
    write_paths(tmp_path / "set.csv", splits=[splits[row % k] for row in range(60)])
    for kind, write in (("npz", write_npz), ("csv", write_csv), ("parquet", write_parquet)):
        (tmp_path / kind).mkdir()
        for i, split in enumerate(splits):
            write(tmp_path / kind / f"my_{split}.{kind}", GREY[i::k], LABELS[i::k])
    found = [load(tmp_path / name) for name in ("set.npz", "set.csv", "npz", "csv", "parquet")]
    assert all(one.expressions == expected for one in found)
    assert len({one.fingerprint for one in found}) == 1
    said = capsys.readouterr().err
    assert f"not used of {tmp_path}/set.npz: ids" in said
    assert "set.npz: train=train" in said


def test_shards_are_one_split_and_none_may_be_missing(tmp_path):
    write_parquet(tmp_path / "whole.parquet")
    folder = tmp_path / "shards"
    folder.mkdir()
    for k in range(2):
        part = slice(30 * k, 30 * k + 30)
        write_parquet(folder / f"train-0000{k}-of-00002.parquet", GREY[part], LABELS[part])
    assert load(folder).fingerprint == load(tmp_path / "whole.parquet").fingerprint
    (folder / "train-00000-of-00002.parquet").unlink()
    write_parquet(folder / "test-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"must have 2 shards \(got 1, without number 0\)"):
        load(folder)


def test_the_classes_of_hugging_face(tmp_path):
    features = {"img": {"_type": "Image"}, "fine": {"_type": "ClassLabel", "names": ["a", "b", "c", "d"]}}
    write_parquet(tmp_path / "set.parquet", features=features, names=("img", "fine"))
    found = load(tmp_path / "set.parquet")
    assert found.class_names == ("a", "b", "c", "d")
    assert np.bincount(found.train.labels).tolist() == [0, 16, 16, 16]


def test_a_table_without_labels_is_left_out_beside_one_that_has_them(tmp_path, capsys):
    write_csv(tmp_path / "train.csv")
    rows = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join(row.partition(",")[2] for row in rows))
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    found = load(tmp_path)
    assert found.expressions == {
        "train": "train[:80%]",
        "validation": "train[80%:90%]",
        "test": "train[90%:]",
    }
    said = capsys.readouterr().err
    assert f"not used of {tmp_path}: sample_submission.csv" in said
    assert f"not used: {tmp_path}/test.csv must have a column label (got pixel0," in said
    with pytest.raises(
        UserError, match=r"must have a column label .*; give a table with labels, such as Kag"
    ):
        load(tmp_path / "test.csv")
    write_parquet(tmp_path / "test.parquet", labels=np.full(60, -1), features={
        "label": {"_type": "ClassLabel", "names": ["a", "b"]}
    })  # fmt: skip
    with pytest.raises(UserError, match=r"must have labels \(got -1 in all rows"):
        load(tmp_path / "test.parquet")


def refused(path, match, **changes):
    with pytest.raises(UserError, match=match) as caught:
        load(path, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": GREY / 255, "labels": LABELS}, r"images of .*set.npz .*\(got float64\); multiply by"),
        ({"images": GREY.astype(int) + 1, "labels": LABELS}, r"must be from 0 to 255 \(got 256 in row \d+\)"),
        ({"images": GREY > 9, "labels": LABELS}, r"must be integers from 0 to 255 \(got bool\)"),
        ({"images": COLOUR.transpose(0, 3, 1, 2).repeat(2, 3), "labels": LABELS}, r"channels first\); use"),
        ({"images": GREY, "labels": np.eye(3)[LABELS - 1]}, r"one-hot labels give labels.argmax"),
        ({"images": GREY, "labels": LABELS[1:]}, "must have 60 labels"),
        ({"images": GREY, "labels": LABELS / 7}, r"must be integers or strings \(got float64\)"),
        ({"images": GREY, "labels": LABELS.astype(object)}, "Python objects, which can run code"),
        ({"images": GREY.reshape(60, 25)[:, 1:], "labels": LABELS}, "pixels of a square image"),
        ({"images": GREY, "x": GREY, "labels": LABELS}, r"one array of train images \(got images and x\)"),
        ({"arr_0": GREY, "arr_1": LABELS}, r"must have arrays named images and labels.*\(got arr_0, arr_1\)"),
        ({"images": GREY}, "must have labels beside images"),
        ({"images": GREY, "labels": np.ones(60, int)}, r"at least two classes \(got 1\)"),
        ({"images": GREY, "labels": np.arange(60)}, "another in each of 60 rows"),
        ({"images": np.zeros((200_000, 30, 30), np.uint8), "labels": LABELS}, "too few for images"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_set(tmp_path, arrays, said):
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    refused(tmp_path / "set.npz", said)


def test_a_header_is_not_believed(tmp_path):
    write_npz(tmp_path / "set.npz")
    with zipfile.ZipFile(tmp_path / "set.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["images.npy"] = members["images.npy"].replace(b"(60, 5, 5)", b"(99, 9, 9)")
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refused(tmp_path / "set.npz", "is damaged: its header says 8,019 bytes, it has 1,500")
    (tmp_path / "set.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:900])
    refused(tmp_path / "set.npz", "must be a .npz file as np.savez writes it")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: ["label,a,b,c,d", "1,0,0,0,256"], r"csv: d in row 1 must be .*\(got '256'"),
        (lambda rows: ["label,a,b,c,d", "1,0,0,0,1", "1,.5,0,0,1"], r"a in row 2 .*\(got '.5'\); multi"),
        (lambda rows: ["label,a,b,c,d", "1,0,0,0"], r"row 1 must have 5 columns .*\(got 4\)"),
        (lambda rows: ["label,a,b,c,d", ",0,0,0,0", "2,0,0,0,0"], "train: row 1 has no label"),
        (lambda rows: ["label,a,b,c,d"], r"must have a row for each image \(got none\)"),
        (lambda rows: ["label,a,b", "1,2,3"], r"pixels of a square image.*\(got 2\)"),
        (lambda rows: rows[1:], "must begin with the names of its columns"),
        (lambda rows: [], r"must have a column label \(got an empty file\)"),
        (lambda rows: ["path,label", "../a.png,1"], r"path in row 1 must be .*\(got '../a.png'\)"),
        (lambda rows: ["path,label", "/etc/passwd,1"], "the path in row 1 must be a file below"),
        (lambda rows: ["path,label", "a.png,1"], "a.png cannot be read: No such file"),
        (lambda rows: ["path,label", *["set.csv,1", "set.csv,2"] * 10], r"20 images cannot .*csv \(row 1 of"),
        (lambda rows: ["path,label", "set.csv"], r"row 1 must have 2 columns \(got 1\)"),
        (lambda rows: ["path,label,split", "set.csv,1,a/b"], "split in row 1 must be a name"),
        (lambda rows: ["path,class", "set.csv,1"], r"must have a column label \(got path, class\)"),
    ],
)  # fmt: skip
def test_csv_that_is_no_set(tmp_path, change, said):
    write_csv(tmp_path / "set.csv")
    rows = (tmp_path / "set.csv").read_text().splitlines()
    (tmp_path / "set.csv").write_text("\n".join(change(rows)))
    refused(tmp_path / "set.csv", said)


def test_files_that_are_no_csv(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_tables, "_SMALL", 2**20)
    (tmp_path / "set.csv").write_bytes(b"label,a\n\xff\xfe,1\n")
    refused(tmp_path / "set.csv", r"must be text in UTF-8 \(got the byte 0xff\)")
    (tmp_path / "set.csv.gz").write_bytes(gzip.compress(b"label,a\n" + b"1," * 9_000_000))
    refused(tmp_path / "set.csv.gz", "must have a line for each image")
    (tmp_path / "set.csv.gz").write_bytes(gzip.compress(b"label,a\n" + b"1,1\n" * 1_000_000))
    refused(tmp_path / "set.csv.gz", "must be a table .got more than")
    (tmp_path / "set.csv.gz").write_bytes(b"label,a\n1,1\n")
    refused(tmp_path / "set.csv.gz", "cannot be read")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "must be a regular file")


def test_parquet_that_is_no_set(tmp_path):
    path = tmp_path / "set.parquet"
    write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    refused(path, "set.parquet cannot be read")
    images = [png(image) for image in GREY]
    images[30] = images[30][:40]
    pq.write_table(pa.table({"image": images, "label": LABELS}), path)
    refused(path, r"1 image cannot be read: row 31 of .*set.parquet: it is")
    write_parquet(path, names=("photo", "label"))
    refused(path, r"must have a column image or img \(got photo, label\)")
    write_parquet(path, names=("image", "kind"))
    refused(path, r"must have a column label \(got image, kind\)")
    write_parquet(path, labels=LABELS / 2)
    refused(path, r"label must be integers or strings \(got double\)")
    write_parquet(path, labels=[None, *LABELS[1:].tolist()])
    refused(path, "row 1 has no label")
    write_parquet(path, features={"label": {"_type": "ClassLabel", "names": ["a", "b"]}})
    refused(path, r"the label in row \d+ must be from 0 to 1, one of its classes")
    pq.write_table(pa.table({"image": [[1, 2]], "label": [1]}), path)
    refused(path, r"must have encoded images, such as PNG or JPEG, as bytes \(got list")
    pq.write_table(pa.table({"image": pa.array([None, b"1"], pa.binary()), "label": [1, 2]}), path)
    refused(path, r"must have the bytes of each image \(got none in row 1\)")
    pq.write_table(pa.table({"image": [DRAWN.bytes(400_000)] * 300, "label": [1] * 300}), path)
    refused(path, r"must hold different images \(got more than [\d,]+ bytes in too few\)")


def test_a_folder_that_is_no_table(tmp_path):
    refused(tmp_path / "none", r"config.data.dir must be a table, .npz, .csv, .csv.gz, .parquet, or a folder")
    (tmp_path / "set" / "data").mkdir(parents=True)
    refused(tmp_path / "set", "must hold a table")
    write_npz(tmp_path / "set" / "data" / "a.npz")
    refused(tmp_path / "set", rf"give --config.data.dir={tmp_path}/set/data")
    write_npz(tmp_path / "set" / "data" / "b.npz")
    refused(tmp_path / "set" / "data", r"tables named by their splits.*\(got a.npz, b.npz in")
    write_csv(tmp_path / "set" / "data" / "test.csv")
    write_npz(tmp_path / "set" / "data" / "train.npz")
    refused(tmp_path / "set" / "data", r"must be of one kind \(got .csv and .npz\)")
    (tmp_path / "set" / "data" / "test.csv").unlink()
    write_npz(tmp_path / "set" / "data" / "train_2.npz")
    refused(tmp_path / "set" / "data", "must have one table of the split train, or shards")


def test_splits_of_different_sizes_are_fitted_or_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=GREY, y_train=LABELS, x_test=GREY[:, 1:, 1:], y_test=LABELS)
    refused(tmp_path / "a.npz", r"must have one shape .*--config.data.image_size=PIXELS")
    assert load(tmp_path / "a.npz", image_size=4).image_shape == (4, 4, 1)


def test_a_set_without_a_split_for_testing(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=GREY, y_train=LABELS, x_val=GREY[:9], y_val=LABELS[:9])
    refused(tmp_path / "a.npz", "must have a test split beside train and val; .*--config.data.test=val")
    found = load(tmp_path / "a.npz", test="val")
    assert found.expressions == {"train": "train[:90%]", "validation": "train[90%:]", "test": "val"}
