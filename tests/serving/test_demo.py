"""The demo page, over HTTP and in a browser that draws on it."""

import base64
import concurrent.futures
import http.client
import io
import json
import re
import signal
import threading

import launcher
import numpy as np
import pytest
import sklearn.datasets
import strokes
from PIL import Image
from written import declared_png

from mnist_jax.serving.classifier import Classifier, load_classifier
from mnist_jax.serving.demo import MAX_BYTES, serve
from mnist_jax.serving.pictures import fit_image
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def classifier(tiny_run) -> Classifier:
    return load_classifier(tiny_run)


def served(classifier):
    server = serve(classifier, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def server(classifier):
    with served(classifier) as server:
        yield server
        server.shutdown()


def ask(server, method, path, content=None, headers=PNG) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, content, headers)
    reply = connection.getresponse()
    return reply.status, reply.read()


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def digit(number=0) -> Image.Image:
    pixels = np.uint8(sklearn.datasets.load_digits().images[number] * 15.9)
    return Image.fromarray(pixels).resize((120, 120), Image.Resampling.BICUBIC)


def test_an_image_has_the_answer_that_the_model_gives(server, classifier):
    status, content = ask(server, "POST", "/answer", png(digit()))
    found = json.loads(content)
    pixels, ink = fit_image(digit(), classifier.image_shape, "digits")
    assert status == 200
    assert found["ink"] == ink == "light"
    np.testing.assert_allclose(found["probabilities"], classifier.probabilities(pixels[None])[0], atol=1e-6)
    assert found["seen"].startswith("data:image/png;base64,")


def test_many_at_once_each_have_their_own_answer(server):
    numbers = range(8)
    alone = [ask(server, "POST", "/answer", png(digit(number))) for number in numbers]
    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        together = pool.map(lambda number: ask(server, "POST", "/answer", png(digit(number))), numbers)
        assert list(together) == alone


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "told"),
    [
        ("GET", "/../etc/passwd", None, {}, 404, "the only page is /"),
        ("POST", "/other", b"x", PNG, 404, "images must be sent to /answer"),
        ("POST", "/answer", b"no image", PNG, 422, "not an image"),
        ("POST", "/answer", declared_png(9_000).getvalue(), PNG, 422, "at most 256 MiB when decoded"),
        ("POST", "/answer", png(Image.new("L", (50, 50), 255)), PNG, 422, "it shows nothing"),
        ("POST", "/answer", b"x", {"Content-Type": "text/plain"}, 403, "from the page of this server"),
        ("POST", "/answer", b"x", PNG | {"Host": "evil.example"}, 403, "from the page of this server"),
        ("GET", "/", None, {"Host": "evil.example"}, 403, "only served to this machine"),
        ("POST", "/answer", None, PNG | {"Content-Length": str(MAX_BYTES + 1)}, 413, "at most 20 MiB"),
        ("POST", "/answer", None, PNG | {"Content-Length": "-1"}, 411, "Content-Length"),
        ("POST", "/answer", None, PNG | {"Content-Length": "9" * 5000}, 413, "at most 20 MiB"),
        ("GET", "/", None, {"Host": "[::1"}, 403, "only served to this machine"),
        ("POST", "/answer", iter([b"x"]), PNG | {"Transfer-Encoding": "chunked"}, 411, "Content-Length"),
    ],
)
def test_what_is_not_an_image_from_its_own_page_is_refused(
    server, method, path, content, headers, status, told
):
    found, reply = ask(server, method, path, content, headers)
    assert found == status
    assert told in json.loads(reply)["error"]
    assert ask(server, "POST", "/answer", png(digit()))[0] == 200  # it goes on


def test_the_page_loads_nothing_and_shows_names_as_they_are(classifier):
    names = ("<script>alert(1)</script>", *classifier.class_names[1:])
    with served(classifier._replace(class_names=names)) as server:
        _, page = ask(server, "GET", "/", headers={})
        server.shutdown()
    text = page.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']", text)


def test_a_port_that_is_taken_is_told(server, classifier):
    with pytest.raises(
        UserError, match=r"^cannot listen at 127.0.0.1, port \d+: .*; give another --host or --port$"
    ):
        serve(classifier, "127.0.0.1", server.server_port)


def test_the_command_tells_its_address_and_ends_on_ctrl_c(tiny_run):
    process = launcher.start(["-m", "mnist_jax", "demo", f"--workdir={tiny_run}", "--port=0"])
    address = process.stdout.readline()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+  \(Ctrl-C ends it\)\n", address)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


@pytest.fixture
def page(browser, server):
    """The demo page on a telephone; its console has to tell nothing but of answers that were refusals."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    told = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    yield page
    page.close()
    assert [message for message in told if "status of 422 " not in message] == []


def answer(page) -> str:
    """The class that the page names, once nothing changes any more."""
    page.locator("#answer[aria-busy=false]").wait_for()
    return page.locator("#label").inner_text()


def draw(page, *points) -> None:
    """One stroke through points in units of the board."""
    box = page.locator("#board").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def test_what_is_drawn_is_answered_as_it_changes(page, server, classifier):
    assert answer(page) == "\N{EN DASH}"
    draw(page, (0.5, 0.15), (0.5, 0.85))
    first = answer(page)
    shares = [float(text[:-1]) for text in page.locator("#classes span").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.6)
    assert shares[classifier.class_names.index(first)] == max(shares)
    board = page.evaluate("board.toDataURL('image/png')")
    content = Image.open(io.BytesIO(base64.b64decode(board.split(",")[1])))
    _, reply = ask(server, "POST", "/answer", png(content))
    assert shares == pytest.approx([100 * p for p in json.loads(reply)["probabilities"]], abs=0.06)
    seen = page.locator("#seen").get_attribute("src")
    draw(page, (0.2, 0.5), (0.8, 0.5))
    answer(page)
    assert page.locator("#seen").get_attribute("src") != seen
    page.locator("#undo").click()
    assert answer(page) == first
    assert page.locator("#seen").get_attribute("src") == seen
    page.locator("#clear").click()
    assert answer(page) == "\N{EN DASH}"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("h1").inner_text() == "digits"


def test_the_page_can_be_drawn_on_by_keyboard_and_by_touch(page):
    page.locator("#board").focus()
    for key in ("Space", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    by_keys = answer(page)
    assert by_keys != "\N{EN DASH}"
    page.keyboard.press("Escape")
    assert answer(page) == "\N{EN DASH}"
    box = page.locator("#board").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert answer(page) != "\N{EN DASH}"
    page.locator("#board").press("Backspace")
    assert answer(page) == "\N{EN DASH}"


def test_the_page_draws_as_the_drawn_digits_of_the_tests_do(page):
    """So that what they show of a model holds for the page: the same pixels but for edges."""
    drawn = strokes.draw("7", np.random.default_rng(0), strokes.PEN)
    for stroke in drawn.strokes:
        draw(page, *stroke[[0, len(stroke) // 2, -1]])  # its two straight lines
    answer(page)
    board = page.evaluate("(paint(), board.toDataURL('image/png'))")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(board.split(",")[1]))).convert("L"), float)
    assert np.abs(seen - np.asarray(drawn.image(), float)).mean() < 2.5


def test_an_image_is_opened_and_a_broken_one_told(page, server):
    _, reply = ask(server, "POST", "/answer", png(digit(3)))
    page.locator("#file").set_input_files({"name": "3.png", "mimeType": "image/png", "buffer": png(digit(3))})
    answer(page)
    assert page.locator("#seen").get_attribute("src") == json.loads(reply)["seen"]
    assert page.locator("#error").inner_text() == ""
    page.locator("#file").set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"no image"})
    answer(page)
    assert "not an image" in page.locator("#error").inner_text()
    assert page.locator("#label").inner_text() == "\N{EN DASH}"
