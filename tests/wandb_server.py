"""The miniature of a W&B server, on an address of this machine."""

import base64
import gzip
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.wandb_stub import API_KEY, WandbStub


@contextmanager
def wandb_stub() -> Iterator[WandbStub]:
    """A stub that listens on this machine."""
    stub = WandbStub()
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": stub})) as server:
        stub.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield stub
        server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed client drops its connection: no error is printed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: WandbStub

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no line for a request."""

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.stub.bodies.append(body)
        is_call = path == "/graphql"
        content = json.loads(body) if is_call or path.endswith("/file_stream") else {}
        operation = path
        time.sleep(self.stub.delay)
        if is_call:
            match = re.search(r"(?:query|mutation)\s+(\w+)", content["query"])
            operation = content.get("operationName") or (match[1] if match else "?")
        with self.stub.lock:
            given = (content.get("variables") or {}) if is_call else {}
            names = {given.get("name"), path.split("/")[-2]}
            gone = next((s for id, s in self.stub.deleted.items() if id in names), None)
            if gone and operation in ("UpsertBucket", path):
                self._reply({"errors": [{"message": "the run was deleted"}]}, gone)
            elif (status := self.stub.fault(operation)) is not None:
                self._reply({"errors": [{"message": "injected"}]}, status)
            elif (
                is_call
                and self.headers.get("Authorization")
                != "Basic " + base64.b64encode(f"api:{API_KEY}".encode()).decode()
            ):
                self._reply({"errors": [{"message": "unauthorized"}]}, 401)
            elif is_call:
                self._reply({"data": self.stub.answer(operation, content.get("variables") or {})})
            else:
                if path.endswith("/file_stream"):
                    self.stub.stream(path.split("/")[-2], content)
                elif path.startswith("/storage/"):
                    self.stub.stored[path.removeprefix("/storage/")] = body
                self._reply({"exitcode": None, "limits": {}})

    do_GET = do_PUT = do_POST

    def _reply(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
