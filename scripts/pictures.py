"""Makes the pictures of README.md and docs/ from real runs on the bundled digits, light and dark.

    make pictures

Chromium or Chrome must be installed. Each picture has at most 200 kB.
"""

import contextlib
import html
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
_COLOURS = {
    "light": ("#1f2328", "#f6f8fa"),
    "dark": ("#e6edf3", "#151b23"),
}  # text and ground of the terminal


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        work = pathlib.Path(folder)
        _mnist_jax(work, "train", "--config=digits", "--workdir=runs/digits")
        said = _mnist_jax(work, "train", "--config=digits", "--workdir=runs/small", *_SMALL)
        _mnist_jax(work, "compare", "runs/digits", "runs/small", "--into=compare.html")
        _mnist_jax(work, "explore", "--config=digits", "--into=explore.html")
        browser = playwright.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            report = (work / "runs" / "digits" / "report.html").as_uri()
            _shoot(browser, scheme, "report", report, height=860)
            _shoot(browser, scheme, "confusion", report, heading="Confusion matrix")
            _shoot(browser, scheme, "compare", (work / "compare.html").as_uri())
            _shoot(browser, scheme, "explore", (work / "explore.html").as_uri())
            _shoot(browser, scheme, "terminal", _terminal(work, said, scheme), height=0)
            with _demo(work) as address, _page(browser, scheme, address, 580) as page:
                _draw(page)
                _save(page, f"demo-{scheme}")
        browser.close()


def _mnist_jax(work: pathlib.Path, *arguments: str) -> str:
    """Runs a command in a folder; returns its output."""
    command = [sys.executable, "-m", "mnist_jax", *arguments]
    return subprocess.run(
        command, cwd=work, check=True, env=_environment(), text=True, stdout=subprocess.PIPE
    ).stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "WANDB_MODE": "disabled"}


def _terminal(work: pathlib.Path, said: str, scheme: str) -> str:
    """The address of a page with the output of a command, as a terminal shows it."""
    text, ground = _COLOURS[scheme]
    page = work / "terminal.html"
    style = f"margin: 0; padding: 16px; font: 14px/1.2 monospace; color: {text}; background: {ground}"
    page.write_text(
        f'<meta charset="utf-8"><body style="margin: 0"><pre style="{style}">{html.escape(said)}</pre>'
    )
    return page.as_uri()


def _browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    sys.exit("pictures.py: Chromium or Chrome must be installed")


def _shoot(
    browser: Browser, scheme: str, name: str, address: str, *, height: int = 700, heading: str = ""
) -> None:
    """Saves the first screen of a page (height 0: all of it), or the one that begins with a heading."""
    with _page(browser, scheme, address, height or 100) as page:
        if heading:
            page.locator("h2", has_text=heading).evaluate("node => node.scrollIntoView()")
        _save(page, f"{name}-{scheme}", whole=not height)


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
def _demo(work: pathlib.Path) -> Iterator[str]:
    """Serves the demo page; yields its address."""
    command = [sys.executable, "-m", "mnist_jax", "demo", "--workdir=runs/digits", "--port=0"]
    process = subprocess.Popen(command, cwd=work, env=_environment(), stdout=subprocess.PIPE, text=True)
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


def _save(page: Page, name: str, *, whole: bool = False) -> None:
    """Saves what the page shows, or the whole page, with as many of 256 colours as the size allows."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    for colours in (256, 64, 16):
        content = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
        if len(content.getvalue()) <= _MOST:
            break
    (FOLDER / f"{name}.png").write_bytes(content.getvalue())


if __name__ == "__main__":
    main()
