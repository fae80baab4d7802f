"""One local page where a run's model is tried: draw, or give it an image, and see what it thinks."""

import functools
import http.server
import io
import ipaddress
import json
import secrets
import threading
from http import HTTPStatus
from typing import Any

import numpy as np

from mnist_jax.reporting.galleries import data_uri
from mnist_jax.reporting.templates import load_template
from mnist_jax.serving.classifier import Classifier
from mnist_jax.serving.pictures import read_image
from mnist_jax.system.errors import UserError

MAX_BYTES = 20 * 2**20  # of an image, as a file
_SECONDS = 10  # that a browser may take to send it
_LOCAL = ("127.0.0.1", "localhost")


def serve(classifier: Classifier, host: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server of the page, which listens already; `serve_forever` makes it answer.

    host: where it listens; where that is this machine alone, only requests to its own names are answered, so
    that no page from elsewhere reaches it. port: 0 for any that is free.
    Raises UserError: the port is taken, or there is no such host.
    """
    handler = functools.partial(_Handler, Demo(classifier), host)
    try:
        return _Server((host, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen at {host}, port {port}: {reason}; give another --host or --port"
        ) from error


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Nothing: a browser that goes away, or sends nonsense, is no news."""


class Demo:
    """What the page asks for."""

    def __init__(self, classifier: Classifier):
        self._classifier, self._lock = classifier, threading.Lock()
        self.nonce = secrets.token_urlsafe(16)
        height, width, channels = classifier.image_shape
        page = load_template("demo.html.jinja").render(
            data_name=classifier.data_name,
            step=classifier.step,
            classes=classifier.class_names,
            size=f"{width} x {height}",
            drawable=channels == 1,
            max_bytes=MAX_BYTES,
            nonce=self.nonce,
        )
        self.page = page.encode()
        classifier.probabilities(np.zeros((1, *classifier.image_shape), np.uint8))  # compiles

    def answer(self, content: bytes) -> dict[str, Any]:
        """Of an image file: `probabilities` in the order of classes, `ink`, and `seen`, the model's picture.

        Raises UserError: it cannot be read, or shows nothing.
        """
        classifier = self._classifier
        with self._lock:  # one large image in memory at a time
            pixels, ink = read_image(io.BytesIO(content), classifier)
            probabilities = classifier.probabilities(pixels[None])[0]
        return {"probabilities": probabilities.tolist(), "ink": ink, "seen": data_uri(pixels)}


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _SECONDS
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mnist_jax", ""

    def __init__(self, demo: Demo, host: str, *args: Any):
        self._demo, self._host = demo, host
        super().__init__(*args)

    def do_GET(self) -> None:
        if not self._is_local():
            self._tell(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
        elif self.path.split("?")[0] == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self._demo.page)
        else:
            self._tell(HTTPStatus.NOT_FOUND, "there is one page here, /")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_local() or not self.headers.get("Content-Type", "").startswith("image/"):
            # Pages from elsewhere may send some kinds of content unasked, but images are not among them.
            self._tell(HTTPStatus.FORBIDDEN, "this takes images from its own page")
        elif self.path != "/answer":
            self._tell(HTTPStatus.NOT_FOUND, "images go to /answer")
        elif not length.isascii() or not length.isdigit():
            self._tell(HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is")
        elif len(length) > 18 or int(length) > MAX_BYTES:
            self._tell(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"it has more than {MAX_BYTES >> 20} MiB")
        else:
            try:
                found = self._demo.answer(self.rfile.read(int(length)))
            except UserError as error:
                return self._tell(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), close=False)
            self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())
        return None

    def _is_local(self) -> bool:
        """Whether the request is to a local name, where only those are served.

        Else a page whose name was made to lead here would be taken for this one: "DNS rebinding".
        """
        if not ipaddress.ip_address(self.connection.getsockname()[0]).is_loopback:
            return True
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        return name in (self._host, *_LOCAL)

    def _tell(self, status: HTTPStatus, message: str, *, close: bool = True) -> None:
        """Sends a mistake; close: ends the connection, on which what was not read would be left."""
        self.close_connection = close
        self._send(status, "application/json", json.dumps({"error": message}).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'nonce-{self._demo.nonce}'; style-src 'unsafe-inline'; "
                "img-src data: blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
            ),
        }
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal stays readable."""
