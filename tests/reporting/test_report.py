import html.parser
import json
import re
import shutil

import numpy as np
import pytest
from cases import predictions_from
from conftest import TINY, run_main

from mnist_jax.data.cache import Arrays
from mnist_jax.loop import train_and_evaluate
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.reporting.report import Results, write_report

pytestmark = pytest.mark.whole

# What a browser made of the report.
FOUND = """() => {
  const boxes = (name) => [...document.querySelectorAll(name)].map((node) => node.getBoundingClientRect());
  return {
    pictures: [...document.images].filter((image) => image.complete && image.naturalWidth > 0).length,
    images: document.images.length,
    charts: boxes("svg").filter((box) => box.width > 200 && box.height > 120).length,
    cells: boxes(".matrix td").filter((box) => box.width > 20).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
}"""


class Page(html.parser.HTMLParser):
    """The text of a page, and what it refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.references = "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("report")
    assert run_main(*TINY, f"--workdir={workdir}").returncode == 0
    return workdir


def record_of(workdir):
    return json.loads((workdir / "run.json").read_text())


def test_the_report_tells_what_run_json_does(finished):
    record, page = record_of(finished), Page((finished / "report.html").read_text())
    test = record["metrics"]["test"]
    low, high = test["intervals"]["accuracy"]
    for text in (
        f"{test['accuracy']:.2%} test accuracy",
        f"{low:.2%} to {high:.2%}",
        f"{test['macro_roc_auc']:.5f}",
        "finished",
        record["code"]["commit"],
        record["data"]["fingerprint"],
        record["params_sha256"],
        "model.widths",
        "Worst mistakes",
        "best checkpoint: step",
        record["environment"]["packages"]["jax"],
    ):
        assert text in page.text, text
    assert re.search(r"model\.dense\s*16\s*256", page.text)  # its value and the default


def test_the_report_refers_to_nothing_outside(finished):
    text = (finished / "report.html").read_text()
    assert all(reference.startswith(("data:image/png;", "#")) for reference in Page(text).references)
    assert "@import" not in text
    assert "url(" not in text
    (nonce,) = re.findall("script-src 'nonce-([^']+)'", text)
    assert re.findall("<script[^>]*>", text) == [f'<script nonce="{nonce}">']
    targets = {reference[1:] for reference in Page(text).references if reference.startswith("#")}
    assert len(targets) == 9
    assert all(f'id="{target}"' in text for target in targets)


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_all_of_it_and_fetches_nothing(finished, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, told = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.goto((finished / "report.html").as_uri())
    accuracy = page.locator("svg.values").first
    accuracy.hover()
    assert re.fullmatch(
        r"at [\d.]+train [\d.]+%validation [\d.]+%", page.locator(".reading").first.text_content()
    )
    page.mouse.move(0, 0)
    assert page.locator(".reading").first.text_content() == ""
    accuracy.press("End")
    assert page.locator(".reading").first.text_content().startswith("at 2")
    accuracy.press("Escape")
    assert page.locator(".ring title").first.text_content().startswith("best checkpoint: step ")
    found = page.evaluate(FOUND)
    page.close()
    assert found["images"] == found["pictures"] >= 24
    assert (
        found["charts"] == 9
    )  # six learning curves, one of them folded; ROC, precision and recall, calibration
    assert found["cells"] == 100
    assert found["overflow"] == 0
    assert [url for url in asked if not url.startswith("data:")] == [(finished / "report.html").as_uri()]
    assert told == []


def test_a_run_that_is_cut_off_has_a_report_of_its_validation(tiny_config, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the test split is on fire")

    monkeypatch.setattr("mnist_jax.run.save_predictions", fail)
    with pytest.raises(RuntimeError, match="on fire"):
        train_and_evaluate(tiny_config, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "validation accuracy" in page.text
    assert "failed" in page.text
    assert "The test split was not read" in page.text


def test_a_report_that_cannot_be_written_does_not_stop_the_run(tiny_config, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnist_jax.reporting.report.write_report", fail)
    assert train_and_evaluate(tiny_config, tmp_path)["status"] == "finished"
    assert (
        "the report cannot be written: OSError: [Errno 28] No space left on device" in capsys.readouterr().out
    )


@pytest.mark.parametrize("classes", [2, 3, 60])
def test_odd_results_have_a_report(finished, tmp_path, classes):
    """Names like markup, colour, a class without an example, no mistake at all."""
    record = record_of(finished)
    names = ["long" * 40 + f"<b>{k}</b>" for k in range(classes)]
    record["data"]["classes"] = names
    labels = np.array([0, 1, 1, 0, 1])
    case = predictions_from(8.0 * (labels[:, None] == np.arange(classes)), labels)
    images = Arrays(np.zeros((5, 6, 4, 3), np.uint8), labels.astype(np.int32))
    shutil.copy(finished / "metrics.jsonl", tmp_path)
    results = Results("test", 7, case, evaluate_in_detail(case), images)
    write_report(tmp_path, "report.html", record, results)
    text = (tmp_path / "report.html").read_text()
    assert "<b>0</b>" not in text
    assert "No mistakes." in text
    assert ("true positives (TP)" in text) == (classes == 2)
    if classes > 2:
        assert "has no example" in text


def test_evaluating_a_checkpoint_writes_its_report(finished):
    assert run_main(*TINY, f"--workdir={finished}", "--mode=evaluate", "--checkpoint=38").returncode == 0
    page = Page((finished / "evaluation-38.html").read_text())
    accuracy = json.loads((finished / "evaluation-38.json").read_text())["metrics"]["accuracy"]
    assert f"{accuracy:.2%} test accuracy" in page.text
