import io

import numpy as np
import pytest
from drawn import seven
from PIL import Image
from written import encoded

from mnist_jax.data import image_files
from mnist_jax.system.errors import UserError

# The value of EXIF's tag 274, and how an image is turned that is shown upright under it.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(("orientation", "turn"), TURNS.items())
def test_photographs_are_upright(orientation, turn):
    upright = Image.fromarray(seven(100))
    exif = Image.Exif()
    exif[274] = orientation
    turned = upright if turn is None else upright.transpose(turn)
    decoded = np.asarray(image_files.decode(encoded(turned, exif=exif)), int)
    np.testing.assert_array_equal(decoded, np.asarray(upright))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not an image"),
        (b"text", "not an image"),
        (encoded(Image.fromarray(seven(64))).getvalue()[:200], "damaged"),
    ],
)
def test_what_cannot_be_read_is_told(content, told):
    with pytest.raises(UserError, match=told):
        image_files.decode(io.BytesIO(content))


def test_files_are_found_by_name_folder_and_pattern(tmp_path):
    for name in ("b.PNG", "a.jpg", "deep/c.webp", "d.tif", "e.jfif", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*names):
        paths = image_files.find([str(tmp_path / name) for name in names])
        return [path.removeprefix(f"{tmp_path}/") for path in paths]

    assert found("") == ["a.jpg", "b.PNG", "d.tif", "deep/c.webp", "e.jfif"]
    assert found("b.PNG", "gone.png", "**/*.webp") == ["b.PNG", "gone.png", "deep/c.webp"]
    (tmp_path / "[1].png").touch()
    assert found("[1].png") == ["[1].png"]
    for name, told in (("x*", "matches no file"), ("empty", "has no image in it of a kind that can be read")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=told):
            found(name)
