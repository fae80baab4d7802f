"""A local page to try the model of a run: draw or open an image, and see its predictions."""

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

MAX_BYTES = 20 * 2**20  # of an image file
_SECONDS = 10  # until a request must be complete
_LOCAL = ("127.0.0.1", "localhost")


def serve(classifier: Classifier, host: str, port: int) -> http.server.ThreadingHTTPServer:
    """Returns a server of the page that listens; call its `serve_forever`.

    Args:
      classifier: the model.
      host: address to listen on. On a loopback address, only requests to a local name are answered, so that
        pages from other sites cannot reach the server.
      port: port to listen on; 0: any free one.

    Raises:
      UserError: the port is taken, or the host does not exist.
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
        """Ignores browsers that close the connection or send invalid requests."""


class Demo:
    """The page and its answers."""

    def __init__(self, classifier: Classifier):
        self._classifier, self._lock = classifier, threading.Lock()
        self.nonce = secrets.token_urlsafe(16)
        height, width, channels = classifier.image_shape
        page = load_template("demo.html.jinja").render(
            title=classifier.title or classifier.data_name,
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
        """Predicts the content of an image file.

        Returns: `probabilities` in the order of classes, `ink`, and `seen`, the model's input as a data URI.
        Raises UserError: the image cannot be read, or is empty.
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
            self._refuse(HTTPStatus.FORBIDDEN, "this page is only served to this machine")
        elif self.path.split("?")[0] == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self._demo.page)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "not found: the only page is /")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_local() or not self.headers.get("Content-Type", "").startswith("image/"):
            # Browsers let pages of other sites post some content types without asking first, but not images.
            self._refuse(HTTPStatus.FORBIDDEN, "images must come from the page of this server")
        elif self.path != "/answer":
            self._refuse(HTTPStatus.NOT_FOUND, "images must be sent to /answer")
        elif not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the request must have a Content-Length")
        elif len(length) > 18 or int(length) > MAX_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the image must have at most {MAX_BYTES >> 20} MiB"
            )
        else:
            try:
                found = self._demo.answer(self.rfile.read(int(length)))
            except UserError as error:
                return self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), close=False)
            self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())
        return None

    def _is_local(self) -> bool:
        """Whether the request names a local host, where the server listens on a loopback address.

        This prevents DNS rebinding: a page of another site whose name resolves to this machine.
        """
        if not ipaddress.ip_address(self.connection.getsockname()[0]).is_loopback:
            return True
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        return name in (self._host, *_LOCAL)

    def _refuse(self, status: HTTPStatus, message: str, *, close: bool = True) -> None:
        """Sends an error; close: ends the connection, whose request body has not been read."""
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
        """Keeps requests out of the terminal."""
