"""Serve the folder of a report to a browser on this machine, and to nobody else."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import InputError

ADDRESS = "127.0.0.1"
# the port may be another one: that of a tunnel from the user's machine
HOSTS = {ADDRESS, "localhost", "::1"}
# a page of ours needs no script and makes no request
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"


class Handler(SimpleHTTPRequestHandler):
    """Answers requests for the files of one folder, by one of this machine's names.

    A page elsewhere can lead its own name to this address (DNS rebinding), but the
    browser then sends that name. No folder is listed, and no link leads out.
    """

    def send_head(self) -> Any:
        """Send the headers of a file, and return it; None where it is refused."""
        if not self._is_for_us():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        if not Path(self.translate_path(self.path)).is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """Return the real path of a request, or an empty text outside the folder."""
        folder = Path(self.directory).resolve()
        try:
            real = Path(super().translate_path(path)).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # no file, or a path that none can have
            return ""
        return str(real) if real.is_relative_to(folder) else ""

    def end_headers(self) -> None:
        """Send what a browser may do with an answer."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no line for a request."""

    def _is_for_us(self) -> bool:
        try:
            (host,) = self.headers.get_all("Host", [])
            return urlsplit(f"//{host}").hostname in HOSTS
        except ValueError:  # none, several, or no name
            return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write nothing about a browser that drops its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def served(page: Path, port: int) -> Iterator[str]:
    """Serve the folder of a page to this machine alone, while the context lasts.

    Yield the address of the page, and print it.

    Raises:
        InputError: the port is taken, or not the user's to take.
    """
    try:
        server = _Server((ADDRESS, port), partial(Handler, directory=str(page.parent)))
    except OSError as error:
        raise InputError(
            f"--port {port}: {os.strerror(error.errno or 0)}; leave it out for a free one"
        ) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://{ADDRESS}:{server.server_port}/{page.name}"
    print(f"{address} (Ctrl-C ends)", file=sys.stderr, flush=True)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
