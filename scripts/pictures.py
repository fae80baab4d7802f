"""Makes the pictures of README.md and docs/ from real runs on the bundled digits, light and dark.

    make pictures

Chromium or Chrome must be installed. Each picture has at most 200 kB.
"""

import contextlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "images"
_MOST = 200_000  # bytes of a picture
_SEVEN = ((0.25, 0.2), (0.75, 0.2), (0.6, 0.45), (0.42, 0.85))  # a stroke, in units of the board
_SMALL = ("--config.model.widths=(4,8)", "--config.train.epochs=8")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        runs = pathlib.Path(folder)
        _run("main.py", "--config=configs/digits.py", f"--workdir={runs / 'digits'}")
        _run("main.py", "--config=configs/digits.py", f"--workdir={runs / 'small'}", *_SMALL)
        _mnist_jax("compare", str(runs / "digits"), str(runs / "small"), f"--into={runs / 'compare.html'}")
        _mnist_jax("explore", "--config=digits", f"--into={runs / 'explore.html'}")
        browser = playwright.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            report = (runs / "digits" / "report.html").as_uri()
            _shoot(browser, scheme, "report", report, height=860)
            _shoot(browser, scheme, "confusion", report, heading="Confusion matrix")
            _shoot(browser, scheme, "compare", (runs / "compare.html").as_uri())
            _shoot(browser, scheme, "explore", (runs / "explore.html").as_uri())
            with _demo(runs / "digits") as address, _page(browser, scheme, address, 580) as page:
                _draw(page)
                _save(page, f"demo-{scheme}")
        browser.close()


def _run(*command: str) -> None:
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, env=_environment())


def _mnist_jax(*arguments: str) -> None:
    _run("-m", "mnist_jax", *arguments)


def _environment() -> dict[str, str]:
    return {**os.environ, "WANDB_MODE": "disabled"}


def _browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    sys.exit("pictures.py: Chromium or Chrome must be installed")


def _shoot(
    browser: Browser, scheme: str, name: str, address: str, *, height: int = 700, heading: str = ""
) -> None:
    """Saves the first screen of a page, or the one that begins with a heading."""
    with _page(browser, scheme, address, height) as page:
        if heading:
            page.locator("h2", has_text=heading).evaluate("node => node.scrollIntoView()")
        _save(page, f"{name}-{scheme}")


@contextlib.contextmanager
def _page(browser: Browser, scheme: str, address: str, height: int) -> Iterator[Page]:
    page = browser.new_page(
        viewport={"width": 1000, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(address)
    yield page
    page.close()


@contextlib.contextmanager
def _demo(workdir: pathlib.Path) -> Iterator[str]:
    """Serves the demo page; yields its address."""
    command = [sys.executable, "-m", "mnist_jax", "demo", f"--workdir={workdir}", "--port=0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().split()[0]
    process.terminate()
    process.wait()


def _draw(page: Page) -> None:
    box = page.locator("#board").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in _SEVEN]
    page.mouse.move(*points[0])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
    page.locator("#answer[aria-busy=false]").wait_for()


def _save(page: Page, name: str) -> None:
    """Saves what the page shows, with as many of 256 colours as the size allows."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 64, 16):
        content = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
        if len(content.getvalue()) <= _MOST:
            break
    (FOLDER / f"{name}.png").write_bytes(content.getvalue())


if __name__ == "__main__":
    main()
