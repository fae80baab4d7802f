"""`mnist-jax explore` as users run it, and the figures on its page."""

import base64
import io
import re
import subprocess

import numpy as np
import pytest
from conftest import run_command
from PIL import Image
from test_explore import splits

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.studies.explore import Place
from mnist_jax.studies.explore_page import duplicate_rows, write_data_page

pytestmark = pytest.mark.whole


def explore(*arguments) -> subprocess.CompletedProcess:
    return run_command("explore", "--config=configs/digits.py", *arguments)


def pictures(text: str) -> list[Image.Image]:
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in encoded]


@pytest.fixture(scope="module")
def page(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("explored") / "digits.html"
    done = explore(f"--into={path}", f"--workdir={tiny_run}")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(path) in done.stdout
    return path


def test_the_page_shows_the_set(page):
    text = page.read_text()
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings == [
        "Splits",
        "Images",
        "Labels",
        "Pixels",
        "Classes on average",
        "Variety within a class",
        "Duplicates",
        "Test images beside the most similar of train",
        "Doubtful labels",
    ]
    assert "<td>1,197</td>" in text
    assert re.search(r"<td>grey</td>\s*<td>0\.30\d\d</td>\s*<td>0\.37\d\d</td>\s*<td>0\.3053</td>", text)
    shown = pictures(text)
    assert len(shown) == 18
    assert all(np.asarray(picture.convert("L")).std() > 10 for picture in shown)  # none is empty
    assert not [
        reference for reference in re.findall(r'src="([^"]*)"', text) if not reference.startswith("data:")
    ]


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_all_figures(page, browser, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto(page.as_uri())
    sizes = tab.evaluate("[...document.images].map((image) => [image.naturalWidth, image.width])")
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    tab.close()
    assert overflow == 0
    assert all(natural > 300 and shown > 300 for natural, shown in sizes)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_odd_sets_have_a_page(tmp_path, channels):
    """Names like markup, a class without an example in train, copies, one image only."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 4, channels), np.uint8)
    dataset = splits(train=noise[:1], validation=noise[1:3], test=np.concatenate([noise[3:], noise[:1]]))
    dataset = dataset._replace(class_names=("<b>a</b>", "$\\frac$"))
    write_data_page(tmp_path / "page.html", dataset, validate(default.get_config()))
    text = (tmp_path / "page.html").read_text()
    assert "<b>a</b>" not in text
    assert "2 examples have the same pixels as another, in 1 groups" in text
    assert re.search(r"<td>train and test</td>\s*<td>1</td>\s*<td>1</td>", text)


def test_pairs_of_copies_are_counted_with_their_conflicts():
    groups = [
        [Place("train", 0, 1), Place("train", 5, 2), Place("test", 3, 1)],
        [Place("train", 1, 0), Place("test", 2, 0)],
    ]
    assert duplicate_rows(groups) == [
        {"splits": "train and train", "pairs": 1, "with different labels": 1},
        {"splits": "train and test", "pairs": 3, "with different labels": 1},
    ]


def test_mistakes_are_told_in_a_line(tiny_run, tmp_path):
    for flags, told in (
        ([f"--into={tmp_path}/no/page.html"], "must be in a folder that exists"),
        ([f"--workdir={tmp_path}"], "holds no run"),
        (
            [f"--workdir={tiny_run}", "--config.data.test=train[1600:]"],
            "must be a run with the test split of config.data.test",
        ),
    ):
        done = explore(f"--into={tmp_path / 'x.html'}", *flags)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert told in done.stderr
