"""Images as a model takes them: from one file the same pixels in training and everywhere else."""

import io
import json
import shutil

import numpy as np
import pytest
from conftest import TINY, run_command, run_main
from drawn import seven
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from written import encoded, png, tiff

from configs import folder
from mnist_jax import data
from mnist_jax.data.rendering import Rendering
from mnist_jax.serving.classifier import Classifier
from mnist_jax.serving.pictures import fit_image, read_image


def asked(shape, *, name="folder", rendering=None) -> Classifier:
    """A model that is shown images of a shape, of a set of a name."""
    return Classifier(name, ("a", "b"), shape, 0, np.zeros_like, rendering or Rendering())


def trained(root, files, image_size=0) -> tuple[data.Dataset, dict[str, np.ndarray]]:
    """A set that has files, all in each split, and the pixels of each file in it.

    files: name with suffix -> content.
    """
    shutil.rmtree(root, ignore_errors=True)
    for number, (name, content) in enumerate(files.items()):
        for split in ("train", "validation", "test"):
            path = root / "set" / split / f"class {number:02}" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(content.getvalue())
    config = folder.get_config().data
    config.update(dir=str(root / "set"), cache_dir=str(root / "cache"), image_size=image_size)
    config.update(train="train", validation="validation")
    dataset = data.load(config)
    pixels = {name: dataset.test.images[dataset.test.labels == k][0] for k, name in enumerate(files)}
    return dataset, pixels


def check_all_ways(root, files, image_size=0) -> tuple[data.Dataset, dict[str, np.ndarray]]:
    """Trains on files and shows them to the model, by name and by content."""
    dataset, pixels = trained(root, files, image_size)
    model = asked(dataset.image_shape, rendering=Rendering(**dataset.rendering._asdict()))
    for number, (name, content) in enumerate(files.items()):
        path = root / "set" / "test" / f"class {number:02}" / name
        for file in (str(path), io.BytesIO(content.getvalue())):
            found, _ = read_image(file, model)
            np.testing.assert_array_equal(found, pixels[name])
    return dataset, pixels


shapes = st.shared(st.tuples(st.integers(1, 9), st.integers(1, 9)), key="shape")
levels = st.lists(arrays.arrays(np.uint16, shapes), min_size=1, max_size=3)


@settings(deadline=None, max_examples=15)
@given(several=levels)
def test_16_bits_have_one_scale_for_the_set_on_all_ways(tmp_path_factory, several):
    files = {}
    for k, pixels in enumerate(several):
        files |= {
            f"{k}.png": encoded(Image.fromarray(pixels)),
            f"{k}.tif": tiff(pixels),
            f"{k}.TIFF": tiff(pixels, order=">"),
            f"{k}-packed.tif": encoded(Image.fromarray(pixels), "TIFF", compression="tiff_deflate"),
            f"{k}-white.tif": tiff(65535 - pixels, white=0),
            f"{k}-32.tif": tiff(pixels.astype(np.int32)),
            f"{k}.pgm": encoded(Image.fromarray(pixels.astype(np.int32)), "PPM"),
        }
    dataset, pixels = check_all_ways(tmp_path_factory.getbasetemp() / "16 bits", files)
    bits = max(8, int(max(one.max() for one in several)).bit_length())
    assert dataset.rendering.integer == [0, 2**bits]
    for name, found in pixels.items():
        expected = several[int(name[0])] / np.float64(2 ** (bits - 8))
        np.testing.assert_array_equal(found[..., 0], np.floor(expected))


GREY = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(16, 16)
WIDE = GREY.astype(np.uint16)
DEEP = {
    "twice the byte.png": encoded(Image.fromarray(WIDE * 257)),
    "shifted.png": encoded(Image.fromarray(WIDE << 8)),
    "12 bits.png": encoded(Image.fromarray(WIDE << 4)),
    "10 bits.tif": tiff(WIDE << 2, order=">"),
    "8 of 16 bits.png": encoded(Image.fromarray(WIDE)),
    "signed.tif": tiff(WIDE.astype(np.int16) - 128),
    "32 bits.tif": tiff(WIDE.astype(np.uint32) << 24),
    "to 1.tif": tiff(GREY.astype(np.float32) / 255),
    "below 1.tif": tiff(GREY.astype(np.float32) / 256, order=">"),
    "to 255.tif": tiff(GREY.astype(np.float32)),
    "dark.tif": tiff(GREY.astype(np.float32) / 2**20),
    "from -1 to 1.tif": tiff(GREY.astype(np.float32) / 127.5 - 1),
    "16 bits.jp2": encoded(Image.fromarray(WIDE * 257), "JPEG2000"),
    "colour.png": png(np.stack([WIDE * 257] * 3, axis=-1)),
    "colour.tif": tiff(np.stack([WIDE << 8] * 3, axis=-1)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_deep_copy_of_a_set_has_the_pixels_of_the_set(kind, tmp_path):
    files = {f"{k} {kind}": DEEP[kind] for k in range(2)}  # of the same levels, in two classes
    _, pixels = check_all_ways(tmp_path, files)
    for found in pixels.values():
        np.testing.assert_array_equal(found, np.broadcast_to(GREY[..., None], found.shape))


COLOURS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
TRANSPARENT = np.dstack([COLOURS, np.linspace(0, 255, 40 * 60).reshape(40, 60).astype(np.uint8)])
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")


@pytest.mark.parametrize("image_size", [0, 24, 700])
def test_every_mode_has_the_same_pixels_on_all_ways(tmp_path, image_size):
    image = Image.fromarray(TRANSPARENT)
    files = {f"{mode}.tif": encoded(image.convert("RGB").convert(mode), "TIFF") for mode in MODES[:5]}
    files |= {f"{mode}.tif": encoded(image.convert("RGB").convert(mode), "TIFF") for mode in MODES[7:]}
    files |= {
        f"{form}.{form}": encoded(image, form) for form in ("png", "webp", "tga", "tiff", "qoi", "avif")
    }
    opaque = ("jpeg", "bmp", "jpeg2000", "gif", "ppm", "pcx")
    files |= {f"{form}.{form[:4]}": encoded(image.convert("RGB"), form) for form in opaque}
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    upright = image.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    files["turned.jpg"] = encoded(upright, "JPEG", exif=exif)
    check_all_ways(tmp_path, files, image_size)


def glyphs(level: int) -> io.BytesIO:
    image = Image.new("RGBA", (16, 16))
    image.paste((level, level, level, 255), (4, 4, 12, 12))
    return encoded(image)


@pytest.mark.parametrize(
    ("levels", "ground"),
    [((0, 60, 128), 255), ((255, 250), 0), ((255, 255, 0), 128), ((255, 0), 128), ((128, 128), 255)],
)
def test_the_ground_of_a_set_is_one_that_its_objects_stand_out_from(tmp_path, levels, ground):
    files = {f"{k}.png": glyphs(level) for k, level in enumerate(levels)}
    dataset, pixels = check_all_ways(tmp_path, files)
    assert dataset.rendering.ground == ground
    for level, found in zip(levels, pixels.values(), strict=True):
        assert (int(found[0, 0, 0]), int(found[8, 8, 0])) == (ground, level)


def modes():
    grey = Image.fromarray(seven(64))
    ink = Image.new("RGBA", grey.size, (20, 30, 90, 0))
    ink.putalpha(grey)
    chalk = Image.new("RGBA", grey.size, (250, 250, 240, 0))
    chalk.putalpha(grey)
    wide = np.asarray(grey).astype(np.uint16) * 257
    return {
        "grey": (grey, "PNG"),
        "bilevel": (grey.convert("1"), "BMP"),
        "palette": (grey.convert("P"), "GIF"),
        "colour": (grey.convert("RGB"), "WEBP"),
        "CMYK": (grey.convert("CMYK"), "JPEG"),
        "16 bits": (Image.fromarray(wide), "PNG"),
        "12 of 16 bits": (Image.fromarray(wide // 16), "PNG"),
        "float": (Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"),
        "transparent": (ink, "PNG"),
        "transparent and light": (chalk, "WEBP"),
    }


MNIST = asked((28, 28, 1), name="mnist")


@pytest.mark.parametrize("mode", modes())
def test_the_same_digit_whatever_the_mode(mode):
    expected, _ = fit_image(Image.fromarray(seven(64)), (28, 28, 1), "mnist")
    fitted, ink = read_image(encoded(*modes()[mode]), MNIST)
    assert fitted.shape == (28, 28, 1)
    assert np.abs(fitted.astype(int) - expected).mean() < 12
    assert ink == ("dark" if mode == "transparent" else "light")


@pytest.mark.parametrize("paper", [250, 10])
def test_paper_with_a_transparent_margin_goes_on_more_paper(paper):
    drawn = np.interp(seven(100), (0, 255), (paper, 255 - paper)).astype(np.uint8)
    card = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    card.paste(Image.fromarray(drawn).convert("RGBA"), (30, 30))
    fitted, ink = read_image(encoded(card), MNIST)
    expected, _ = fit_image(Image.fromarray(seven(100)), (28, 28, 1), "mnist")
    assert ink == ("dark" if paper > 127 else "light")
    assert np.abs(fitted.astype(int) - expected).mean() < 12


def test_other_sets_are_fitted_as_in_training():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 10:110] = (200, 100, 50)
    fitted, ink = fit_image(Image.fromarray(wide), (8, 8, 3), "cifar10", "crop")
    np.testing.assert_array_equal(fitted, np.broadcast_to((200, 100, 50), (8, 8, 3)))
    assert ink is None
    grey, _ = fit_image(Image.fromarray(wide), (8, 8, 1), "fashion_mnist")
    assert grey.shape == (8, 8, 1)


@pytest.mark.whole
def test_a_run_on_deep_pictures_predicts_and_exports_by_its_own_range(tmp_path):
    """12 bits in 16, and the same with 8 bits: one fingerprint, one set of probabilities."""
    rng = np.random.default_rng(0)
    for number in range(60):
        level = 40 if number % 2 else 200
        pixels = (level + rng.integers(0, 40, (8, 8))).astype(np.uint16)
        name = f"{'test' if number < 10 else 'train'}/{'dim' if number % 2 else 'bright'}/{number}.png"
        for kind, image in (("deep", pixels << 4), ("plain", pixels.astype(np.uint8))):
            path = tmp_path / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    flags = (*TINY, "--config.data.name=folder", "--config.data.train=train[:80%]", "--config.data.test=test")
    records = []
    for kind in ("deep", "plain"):
        own = (f"--config.data.dir={tmp_path / kind}", f"--workdir={tmp_path / 'runs' / kind}")
        done = run_main(*flags, "--config.data.validation=train[80%:]", *own)
        assert done.returncode == 0, done.stderr
        records.append(json.loads((tmp_path / "runs" / kind / "run.json").read_text())["data"])
    deep, plain = records
    assert deep["fingerprint"] == plain["fingerprint"]
    assert (deep["rendering"]["integer"], plain["rendering"]["integer"]) == ([0, 4096], None)
    workdir = tmp_path / "runs" / "deep"
    asked_of = [tmp_path / kind / "test" for kind in ("deep", "plain")]
    found = run_command("predict", f"--workdir={workdir}", "--json", *asked_of)
    lines = [json.loads(line)["top"] for line in found.stdout.splitlines()]
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert run_command("export", f"--workdir={workdir}").returncode == 0
    assert (
        json.loads((workdir / "export" / "config.json").read_text())["data"]["rendering"] == deep["rendering"]
    )
